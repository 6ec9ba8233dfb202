package eviction

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

const (
	// DefaultTransition is how long a condition of the Node stays, and
	// DefaultInterval how often the node is looked at.
	DefaultTransition = 5 * time.Minute
	DefaultInterval   = 10 * time.Second
	// patience is how long one evicted pod is waited for before another goes.
	patience = 30 * time.Second
	// atOnce is the grace of a pod that a hard threshold or a limit takes.
	atOnce = time.Second
	// countingShare is how many times as long as counting a pod's files took they
	// are let alone: who has millions of them costs a twentieth of a core.
	countingShare = 20
	// Reason is why a pod has failed that was evicted.
	Reason = "Evicted"
)

// Node is what is looked at and acted on. It is called by one goroutine.
type Node interface {
	// Observe reads what is available; what cannot be read is left out.
	Observe(ctx context.Context) (Observations, error)
	// Pods are those that hold something of the node; Leaving tells whether one
	// of them is on its way out.
	Pods() []*corev1.Pod
	Leaving(uid types.UID) bool
	// Measure reads what a pod uses; disk: its files too, which takes a while.
	Measure(ctx context.Context, pod *corev1.Pod, disk bool) Usage
	// ReclaimImages removes images that nobody uses; loaded: also those that were
	// loaded by hand.
	ReclaimImages(ctx context.Context, loaded bool) error
	// Evict fails a pod.
	Evict(uid types.UID, message string, grace time.Duration)
	// Told is called when the conditions are others, and with each threshold that
	// is acted on.
	Told(conditions bool, met *Threshold)
}

// Config is what an Evictor is made of.
type Config struct {
	Node Node
	// Conditions are set to what holds.
	Conditions *Conditions
	Thresholds []Threshold
	// Transition and Interval have defaults. MaxGrace is what a pod gets at most
	// that a soft threshold takes.
	Transition, Interval, MaxGrace time.Duration
	Clock                          clock.WithTicker
	Logger                         *slog.Logger
}

// Evictor looks at a node, again and again.
type Evictor struct {
	Config
	memory  Memory
	leaving types.UID // the pod that was evicted last, until it is gone
	until   time.Time
	// again is when a pod's files are worth counting once more, for its limits.
	again map[types.UID]time.Time
}

// Conditions are those of the Node that hold: the Evictor sets them, and others
// ask. The zero value holds none.
type Conditions struct {
	mu   sync.Mutex // guards held
	held map[corev1.NodeConditionType]bool
}

// Held gives them. Safe for concurrent use.
func (c *Conditions) Held() map[corev1.NodeConditionType]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.held)
}

func (c *Conditions) set(held map[corev1.NodeConditionType]bool) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed = !maps.Equal(c.held, held)
	c.held = held
	return changed
}

// New makes it; Run runs it.
func New(config Config) (*Evictor, error) {
	if config.Node == nil || config.Conditions == nil || config.Clock == nil || config.Logger == nil {
		return nil, errors.New("eviction: node, conditions, clock and logger are needed")
	}
	if config.Transition == 0 {
		config.Transition = DefaultTransition
	}
	if config.Interval == 0 {
		config.Interval = DefaultInterval
	}
	return &Evictor{Config: config}, nil
}

// Run looks at the node until ctx ends.
func (e *Evictor) Run(ctx context.Context) error {
	ticker := e.Clock.NewTicker(e.Interval)
	defer ticker.Stop()
	for {
		e.look(ctx)
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return nil
		}
	}
}

func (e *Evictor) look(ctx context.Context) {
	if e.limits(ctx) {
		return // what they leave is worth another look first
	}
	verdict, seen, err := e.observe(ctx)
	if err != nil {
		e.Logger.Warn("node not looked at", "err", err)
		return
	}
	if e.Conditions.set(verdict.Pressure) {
		e.Node.Told(true, nil)
	}
	if verdict.Act == nil {
		return
	}
	e.Node.Told(false, verdict.Act)
	if verdict.Act.Signal.Disk() {
		for _, loaded := range []bool{false, true} {
			if err := e.Node.ReclaimImages(ctx, loaded); err != nil {
				e.Logger.Warn("images not removed", "err", err)
			}
			if seen, err = e.Node.Observe(ctx); err != nil || !verdict.Act.met(seen, true) {
				return
			}
		}
	}
	e.evict(ctx, *verdict.Act, seen[verdict.Act.Signal])
}

func (e *Evictor) observe(ctx context.Context) (Verdict, Observations, error) {
	seen, err := e.Node.Observe(ctx)
	if err != nil {
		return Verdict{}, nil, err
	}
	var v Verdict
	v, e.memory = Look(e.Thresholds, e.Transition, e.memory, seen, e.Clock.Now())
	return v, seen, nil
}

// limits evicts the pods that use more of the local disk than they may.
func (e *Evictor) limits(ctx context.Context) bool {
	evicted, again := false, map[types.UID]time.Time{}
	for _, pod := range e.Node.Pods() {
		if !Limited(pod) || e.Node.Leaving(pod.UID) {
			continue
		}
		start := e.Clock.Now()
		if again[pod.UID] = e.again[pod.UID]; start.Before(again[pod.UID]) {
			continue
		}
		if message := Exceeded(Pod{pod, e.Node.Measure(ctx, pod, true)}); message != "" {
			e.Node.Evict(pod.UID, message, atOnce)
			evicted = true
		}
		now := e.Clock.Now()
		again[pod.UID] = now.Add(countingShare * now.Sub(start))
	}
	e.again = again
	return evicted
}

// evict takes the pod that ranks first, unless the one before it is not gone
// yet.
func (e *Evictor) evict(ctx context.Context, t Threshold, seen Observation) {
	now, held := e.Clock.Now(), e.Node.Pods()
	// Before anything is measured, which may be a walk over all of a pod's files.
	if now.Before(e.until) && slices.ContainsFunc(held, func(p *corev1.Pod) bool { return p.UID == e.leaving }) {
		return
	}
	var pods []Pod
	for _, pod := range held {
		if !e.Node.Leaving(pod.UID) {
			pods = append(pods, Pod{pod, e.Node.Measure(ctx, pod, t.Signal.Disk())})
		}
	}
	ranked := Rank(t.Signal.Resource(), pods)
	if len(ranked) == 0 {
		e.Logger.Warn("node runs out of something and has no pod to give up", "signal", t.Signal, "available", seen.Available)
		return
	}
	grace := atOnce
	if t.Grace > 0 {
		grace = max(atOnce, e.MaxGrace)
		if own := ranked[0].Spec.TerminationGracePeriodSeconds; own != nil {
			grace = min(grace, max(atOnce, time.Duration(*own)*time.Second))
		}
	}
	e.leaving, e.until = ranked[0].UID, now.Add(patience)
	e.Node.Evict(ranked[0].UID, Message(t, seen, ranked[0]), grace)
}
