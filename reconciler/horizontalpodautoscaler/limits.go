package horizontalpodautoscaler

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"
)

// downWindow is how long a high recommendation holds when nothing else is said.
const downWindow = 5 * time.Minute

// longestPeriod is the longest that a policy may look back.
const longestPeriod = 30 * time.Minute

// timed is a number at a time: a recommendation, or by how much was scaled.
type timed struct {
	at time.Time
	n  int32
}

// History is what was recommended and done lately. It belongs to one autoscaler.
type History struct{ recommended, up, down []timed }

// recent drops what is older than a window.
func recent(all []timed, since time.Time) []timed {
	kept := all[:0:0]
	for _, t := range all {
		if t.at.After(since) {
			kept = append(kept, t)
		}
	}
	return kept
}

func sum(all []timed, since time.Time) int32 {
	var n int32
	for _, t := range recent(all, since) {
		n += t.n
	}
	return n
}

// done notes that the scale was changed.
func (h *History) done(from, to int32, now time.Time) {
	since := now.Add(-longestPeriod)
	h.up, h.down = recent(h.up, since), recent(h.down, since)
	switch {
	case to > from:
		h.up = append(h.up, timed{now, to - from})
	case to < from:
		h.down = append(h.down, timed{now, from - to})
	}
}

// verdict is a number with the reason for it.
type verdict struct {
	n               int32
	reason, message string
}

// stabilize keeps a recommendation within those of the windows before it: the
// lowest of the one for more, the highest of the one for less.
func (h *History) stabilize(behavior *autoscalingv2.HorizontalPodAutoscalerBehavior, current, wanted int32, now time.Time) verdict {
	up, down := time.Duration(0), downWindow
	if behavior != nil {
		up, down = window(behavior.ScaleUp, up), window(behavior.ScaleDown, down)
	}
	if h.recommended == nil { // what others did before counts as recommended
		h.recommended = []timed{{now, current}}
	}
	lowest, highest := wanted, wanted
	for _, r := range h.recommended {
		if r.at.After(now.Add(-up)) {
			lowest = min(lowest, r.n)
		}
		if r.at.After(now.Add(-down)) {
			highest = max(highest, r.n)
		}
	}
	h.recommended = append(recent(h.recommended, now.Add(-max(up, down))), timed{now, wanted})
	switch n := min(max(current, lowest), highest); {
	case n < wanted:
		return verdict{n, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"}
	case n > wanted:
		return verdict{n, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"}
	}
	return verdict{wanted, "ReadyForNewScale", "recommended size matches current size"}
}

func window(rules *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
	if rules == nil || rules.StabilizationWindowSeconds == nil {
		return otherwise
	}
	return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
}

// limit keeps a number between what the autoscaler allows at all and what its
// policies allow now.
func (h *History) limit(behavior *autoscalingv2.HorizontalPodAutoscalerBehavior, current, wanted, least, most int32, now time.Time) verdict {
	up, down := max(2*current, 4), int32(0)
	if behavior != nil {
		up, down = h.upTo(behavior.ScaleUp, current, now), h.downTo(behavior.ScaleDown, current, now)
	}
	up, down = max(up, current), min(down, current)
	switch {
	case wanted > current && wanted > most && most <= up:
		return verdict{most, "TooManyReplicas", "the desired replica count is more than the maximum replica count"}
	case wanted > current && wanted > up:
		return verdict{up, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"}
	case wanted < current && wanted < least && least >= down:
		return verdict{least, "TooFewReplicas", "the desired replica count is less than the minimum replica count"}
	case wanted < current && wanted < down:
		return verdict{down, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"}
	}
	return verdict{min(max(wanted, least), most), "DesiredWithinRange", "the desired count is within the acceptable range"}
}

// upTo is how many replicas the policies allow at most.
func (h *History) upTo(rules *autoscalingv2.HPAScalingRules, current int32, now time.Time) int32 {
	return h.bound(rules, current, now, func(start, value float64) float64 { return start + value },
		func(start, value float64) float64 { return math.Ceil(start * (1 + value/100)) }, true)
}

// downTo is how many replicas the policies allow at least.
func (h *History) downTo(rules *autoscalingv2.HPAScalingRules, current int32, now time.Time) int32 {
	return h.bound(rules, current, now, func(start, value float64) float64 { return start - value },
		func(start, value float64) float64 { return math.Trunc(start * (1 - value/100)) }, false)
}

// bound is the furthest that the policies allow from what there was at the
// beginning of their periods, or the nearest when the rules choose the least
// change.
func (h *History) bound(rules *autoscalingv2.HPAScalingRules, current int32, now time.Time, pods, percent func(start, value float64) float64, up bool) int32 {
	if rules == nil || len(rules.Policies) == 0 {
		if up {
			return max(current+4, 2*current) // what the API server fills in
		}
		return 0
	}
	choice := ptr.Deref(rules.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if choice == autoscalingv2.DisabledPolicySelect {
		return current
	}
	var bound float64
	for i, policy := range rules.Policies {
		since := now.Add(-time.Duration(policy.PeriodSeconds) * time.Second)
		start := float64(current - sum(h.up, since) + sum(h.down, since))
		of := pods
		if policy.Type == autoscalingv2.PercentScalingPolicy {
			of = percent
		}
		n := of(start, float64(policy.Value))
		switch highest := up == (choice == autoscalingv2.MaxChangePolicySelect); {
		case i == 0:
			bound = n
		case highest:
			bound = max(bound, n)
		default:
			bound = min(bound, n)
		}
	}
	return int32(min(max(bound, 0), math.MaxInt32))
}
