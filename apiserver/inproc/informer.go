package inproc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/headway-sh/headway/apiserver/kind"
)

// informer hands out the events of one kind in one shape. Its handlers have
// nothing in common: each is a cursor of its own into the store's log.
type informer struct {
	cache *Cache
	kind  *kind.Kind
	shape runtime.Object

	mu       sync.Mutex // guards handlers and stopped; taken after cache.mu
	handlers map[*registration]struct{}
	stopped  bool
}

var _ cache.Informer = (*informer)(nil)

// AddEventHandler lets a handler see the present objects and then every
// change, in order, one call at a time.
func (i *informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(h, toolscache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod is AddEventHandler. There are no resyncs: the
// store loses no events.
func (i *informer) AddEventHandlerWithResyncPeriod(h toolscache.ResourceEventHandler, _ time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandler(h)
}

// AddEventHandlerWithOptions is AddEventHandler.
func (i *informer) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, _ toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	r := &registration{informer: i, handler: h, synced: make(chan struct{})}
	i.cache.mu.Lock()
	defer i.cache.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped {
		return nil, fmt.Errorf("the informer of %s has been removed", i.kind.Plural)
	}
	i.handlers[r] = struct{}{}
	if ctx := i.cache.context; ctx != nil {
		r.start(ctx)
	}
	return r, nil
}

// start starts the handlers that were added before the cache was; the cache's
// lock is held.
func (i *informer) start(ctx context.Context) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for r := range i.handlers {
		r.start(ctx)
	}
}

// RemoveEventHandler ends a handler. It may be called by the handler itself.
func (i *informer) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	r, ok := handle.(*registration)
	if !ok {
		return errors.New("the registration is not this informer's")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.handlers[r]; ok {
		delete(i.handlers, r)
		r.cancelled()
	}
	return nil
}

func (i *informer) stop() {
	i.mu.Lock()
	i.stopped = true
	var running []*registration
	for r := range i.handlers {
		r.cancelled()
		running = append(running, r)
	}
	clear(i.handlers)
	i.mu.Unlock()
	for _, r := range running {
		if r.done != nil {
			<-r.done
		}
	}
}

// AddIndexers is not offered: indexes are fields of the cache.
func (i *informer) AddIndexers(toolscache.Indexers) error {
	return errors.New("use the cache's IndexField: there is no second copy that could be indexed")
}

// HasSynced tells whether the cache runs: the store has all objects.
func (i *informer) HasSynced() bool {
	select {
	case <-i.cache.started:
		return true
	default:
		return false
	}
}

// HasSyncedChecker is HasSynced as a channel.
func (i *informer) HasSyncedChecker() toolscache.DoneChecker {
	return checker{"cache of " + i.kind.Plural, i.cache.started}
}

// IsStopped tells whether the informer was removed or its cache has ended.
func (i *informer) IsStopped() bool {
	i.cache.mu.Lock()
	ctx := i.cache.context
	i.cache.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stopped || (ctx != nil && ctx.Err() != nil)
}

type checker struct {
	name string
	done <-chan struct{}
}

func (c checker) Name() string          { return c.name }
func (c checker) Done() <-chan struct{} { return c.done }
