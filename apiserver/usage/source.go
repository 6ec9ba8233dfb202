package usage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/txn"
)

const (
	// patience is how long an agent may take.
	patience = 2 * time.Second
	// fresh is how long an answer is given again.
	fresh = 15 * time.Second
	// old is from when on a look says nothing about the present any more.
	old = 2 * time.Minute
	// again is how long after a first look the second comes.
	again = time.Second
	// atOnce is how many agents are asked at the same time.
	atOnce = 64
)

var (
	nodes = schema.GroupResource{Resource: "nodes"}
	pods  = schema.GroupResource{Resource: "pods"}
)

// Ask asks a node's agent for /metrics/resource.
type Ask func(ctx context.Context, node string) ([]byte, error)

// Source knows what nodes and pods use. It is safe for concurrent use.
type Source struct {
	ask   Ask
	clock clock.Clock
	log   *slog.Logger

	turn chan struct{} // guards what follows: whoever has put something in
	at   time.Time
	seen map[string]looks
}

// looks are the last two at a node, of which the first may be missing.
type looks struct{ before, now look }

func (l looks) complete() bool { return !l.before.node.at.IsZero() }

// New makes a Source.
func New(ask Ask, clock clock.Clock, log *slog.Logger) *Source {
	return &Source{ask: ask, clock: clock, log: log, turn: make(chan struct{}, 1)}
}

// look gives the last two looks at every node that answers.
func (s *Source) look(ctx context.Context, view txn.View) (map[string]looks, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.seen != nil && s.clock.Since(s.at) < fresh {
		return s.seen, nil
	}
	var names []string
	for o := range view.Each(nodes, "") {
		names = append(names, o.GetName())
	}
	// Others wait for the answer too, so that it outlives who asked first.
	ctx = context.WithoutCancel(ctx)
	seen := s.all(ctx, names, s.seen)
	var incomplete []string
	for name, l := range seen {
		if !l.complete() {
			incomplete = append(incomplete, name)
		}
	}
	if len(incomplete) > 0 {
		<-s.clock.After(again)
		second := s.all(ctx, incomplete, seen)
		for _, name := range incomplete {
			delete(seen, name)
			if l, ok := second[name]; ok && l.complete() {
				seen[name] = l
			}
		}
	}
	s.seen, s.at = seen, s.clock.Now()
	return seen, nil
}

// all looks at nodes side by side.
func (s *Source) all(ctx context.Context, names []string, last map[string]looks) map[string]looks {
	var mu sync.Mutex // guards found
	found := map[string]looks{}
	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, name := range names {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			l, err := s.one(ctx, name)
			if err != nil {
				s.log.Debug("what a node uses is not known", "node", name, "err", err)
				return
			}
			pair := looks{now: l}
			if before := last[name].now; l.node.at.Sub(before.node.at) < old && l.node.at.After(before.node.at) {
				pair.before = before
			}
			mu.Lock()
			defer mu.Unlock()
			found[name] = pair
		})
	}
	wait.Wait()
	return found
}

func (s *Source) one(ctx context.Context, node string) (look, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := s.ask(ctx, node)
	if err != nil {
		return look{}, err
	}
	return read(text)
}

// between is what was used from one look to the next; false when that cannot
// be said, as of a container that was started in between.
func between(before, now point) (corev1.ResourceList, bool) {
	window := now.at.Sub(before.at)
	if before.at.IsZero() || window <= 0 || now.cpu < before.cpu {
		return nil, false
	}
	cores := (now.cpu - before.cpu) / window.Seconds()
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(cores*1e9), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(now.memory), resource.BinarySI),
	}, true
}
