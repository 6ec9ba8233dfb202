package store

import (
	"container/heap"
	"context"
	"sync"
)

// waiters are those who wait for the store to publish a revision.
type waiters struct {
	mu      sync.Mutex // guards all
	heap    waiterHeap
	now     int64
	stopped bool
}

type waiter struct {
	revision int64
	done     chan struct{}
	index    int
}

// reached wakes those who wait for the revision or an older one.
func (w *waiters) reached(revision int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = max(w.now, revision)
	for len(w.heap) > 0 && w.heap[0].revision <= revision {
		close(heap.Pop(&w.heap).(*waiter).done)
	}
}

// stop wakes all, for good.
func (w *waiters) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for len(w.heap) > 0 {
		close(heap.Pop(&w.heap).(*waiter).done)
	}
}

// wait returns when the revision is reached, the waiters are stopped or ctx
// ends.
func (w *waiters) wait(ctx context.Context, revision int64) error {
	w.mu.Lock()
	if w.now >= revision || w.stopped {
		defer w.mu.Unlock()
		return w.outcome(revision)
	}
	me := &waiter{revision: revision, done: make(chan struct{})}
	heap.Push(&w.heap, me)
	w.mu.Unlock()
	select {
	case <-me.done:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.outcome(revision)
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		if me.index >= 0 {
			heap.Remove(&w.heap, me.index)
		}
		return ctx.Err()
	}
}

func (w *waiters) outcome(revision int64) error {
	if w.now < revision {
		return ErrStopped
	}
	return nil
}

// waiterHeap orders waiters by revision and knows where each is.
type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].revision < h[j].revision }
func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *waiterHeap) Push(x any) {
	w := x.(*waiter)
	w.index = len(*h)
	*h = append(*h, w)
}

func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.index = -1
	return w
}
