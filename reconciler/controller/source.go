package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// again is when somebody who could not watch tries once more.
const again = 10 * time.Second

// On is a source that maps changes of one kind to requests. before is nil for
// a new object and after is nil for one that has gone. Both are shared.
func On[T client.Object, R comparable](c cache.Cache, kind T, requests func(ctx context.Context, before, after T) []R) source.TypedSource[R] {
	return &changes[T, R]{cache: c, kind: kind, requests: requests}
}

// changes hands a cache's events on without the library's layers in between,
// which look at the types of the objects anew for every event.
type changes[T client.Object, R comparable] struct {
	cache      cache.Cache
	kind       T
	requests   func(ctx context.Context, before, after T) []R
	registered chan result
}

// result is what became of asking for the events.
type result struct {
	registration toolscache.ResourceEventHandlerRegistration
	err          error
}

// Start begins to queue requests. It does not wait for the cache.
func (s *changes[T, R]) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[R]) error {
	s.registered = make(chan result, 1)
	go func() {
		var r result
		err := wait.PollUntilContextCancel(ctx, again, true, func(ctx context.Context) (bool, error) {
			informer, err := s.cache.GetInformer(ctx, s.kind)
			if r.err = err; err != nil {
				return false, nil // the kind may come back, as that of a custom resource does
			}
			r.registration, err = informer.AddEventHandler(s.handler(ctx, queue))
			return true, err
		})
		if r.err == nil {
			r.err = err
		}
		if r.err != nil {
			r.err = fmt.Errorf("watch %T: %w", s.kind, r.err)
		}
		s.registered <- r
	}()
	return nil
}

// WaitForSync waits until what was there has been queued.
func (s *changes[T, R]) WaitForSync(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r := <-s.registered:
		if r.err != nil {
			return r.err
		}
		if !toolscache.WaitFor(ctx, "", r.registration.HasSyncedChecker()) {
			return fmt.Errorf("watch %T: the cache has ended", s.kind)
		}
		return nil
	}
}

func (s *changes[T, R]) handler(ctx context.Context, queue workqueue.TypedRateLimitingInterface[R]) toolscache.ResourceEventHandler {
	var none T
	tell := func(before, after T) {
		for _, r := range s.requests(ctx, before, after) {
			queue.Add(r)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { tell(none, o.(T)) },
		UpdateFunc: func(before, after any) { tell(before.(T), after.(T)) },
		DeleteFunc: func(o any) {
			if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = unknown.Obj
			}
			tell(o.(T), none)
		},
	}
}
