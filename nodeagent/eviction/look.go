package eviction

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Observation is how much there is of something. Capacity 0: it is not known.
type Observation struct{ Available, Capacity int64 }

// Observations are all that could be read.
type Observations map[Signal]Observation

// Memory is what a look leaves for the next one.
type Memory struct {
	// since is when a threshold was first met, as far as it still is; last when a
	// condition last held.
	since map[Threshold]time.Time
	last  map[corev1.NodeConditionType]time.Time
}

// Verdict is what a look finds.
type Verdict struct {
	// Pressure are the Node's conditions that hold.
	Pressure map[corev1.NodeConditionType]bool
	// Act is what has to be acted on first; nil: nothing.
	Act *Threshold
}

// Look compares what is available with the thresholds. A condition holds until
// no threshold of its has been met for the transition period.
func Look(thresholds []Threshold, transition time.Duration, m Memory, seen Observations, now time.Time) (Verdict, Memory) {
	next := Memory{since: map[Threshold]time.Time{}, last: map[corev1.NodeConditionType]time.Time{}}
	v := Verdict{Pressure: map[corev1.NodeConditionType]bool{}}
	var due []Threshold
	for _, t := range thresholds {
		since, before := m.since[t]
		if !t.met(seen, before) {
			continue
		}
		if !before {
			since = now
		}
		next.since[t] = since
		next.last[t.Signal.Condition()] = now
		if now.Sub(since) >= t.Grace {
			due = append(due, t)
		}
	}
	for c, at := range m.last {
		if _, again := next.last[c]; !again && now.Sub(at) < transition {
			next.last[c] = at
		}
	}
	for c := range next.last {
		v.Pressure[c] = true
	}
	if len(due) > 0 {
		first := slices.MinFunc(due, func(a, b Threshold) int {
			return cmp.Or(cmp.Compare(order(a.Signal), order(b.Signal)), cmp.Compare(a.Grace, b.Grace))
		})
		v.Act = &first
	}
	return v, next
}

// met tells whether too little is there; once it was met more is wanted. What
// cannot be read meets nothing.
func (t Threshold) met(seen Observations, before bool) bool {
	o, ok := seen[t.Signal]
	if !ok || o.Capacity <= 0 {
		return false
	}
	below := t.Below.Of(o.Capacity)
	if before {
		below += t.Reclaim.Of(o.Capacity)
	}
	return o.Available < below
}
