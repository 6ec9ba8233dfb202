package emulator

import (
	"context"
	"sync"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// watcher is one event stream with an unbounded queue: a test may read late.
type watcher struct {
	mu     sync.Mutex // guards queue and closed
	queue  []runtime.Event
	closed bool
	wake   chan struct{}
}

func (w *watcher) push(e runtime.Event) {
	w.mu.Lock()
	w.queue = append(w.queue, e)
	w.mu.Unlock()
	w.poke()
}

func (w *watcher) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.poke()
}

func (w *watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) take() (events []runtime.Event, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events, w.queue = w.queue, nil
	return events, w.closed
}

// Events implements runtime.Interface.
func (r *Runtime) Events(ctx context.Context) <-chan runtime.Event {
	w := &watcher{wake: make(chan struct{}, 1)}
	out := make(chan runtime.Event)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		close(out)
		return out
	}
	r.watchers[w] = struct{}{}
	r.running.Add(1)
	go func() {
		defer r.running.Done()
		defer close(out)
		w.deliver(ctx, out)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, w)
	}()
	return out
}

func (w *watcher) deliver(ctx context.Context, out chan<- runtime.Event) {
	for {
		events, closed := w.take()
		if closed {
			return // nobody may be reading any more
		}
		for _, e := range events {
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

// publish sends to all streams. mu is held.
func (r *Runtime) publish(e runtime.Event) {
	for w := range r.watchers {
		w.push(e)
	}
}

// Disconnect acts as a runtime that was restarted: events are lost from now
// until the streams have been told to List again.
func (r *Runtime) Disconnect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publish(runtime.Event{Kind: runtime.EventResync, Time: r.clock.Now()})
}
