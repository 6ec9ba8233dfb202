package scheduler

import "sync"

// outbox holds what the loop wants done until a worker takes it. Like the
// inbox it is not bounded: the loop never waits for the API.
type outbox[T any] struct {
	mu    sync.Mutex // guards items
	items []T
	ready chan struct{}
}

func newOutbox[T any]() *outbox[T] { return &outbox[T]{ready: make(chan struct{}, 1)} }

func (o *outbox[T]) add(items ...T) {
	if len(items) == 0 {
		return
	}
	o.mu.Lock()
	o.items = append(o.items, items...)
	o.mu.Unlock()
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// take gives at most so many, the oldest first.
func (o *outbox[T]) take(limit int) []T {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(o.items), limit)
	taken := o.items[:n:n]
	o.items = o.items[n:]
	return taken
}
