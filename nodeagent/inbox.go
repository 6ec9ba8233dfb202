package nodeagent

import "sync"

// inbox is a queue without bound: whoever posts never waits for a pod.
type inbox struct {
	ready chan struct{}
	mu    *sync.Mutex // guards queue
	queue *[]func()
}

func newInbox() inbox {
	return inbox{ready: make(chan struct{}, 1), mu: &sync.Mutex{}, queue: &[]func(){}}
}

func (i inbox) put(f func()) {
	i.mu.Lock()
	*i.queue = append(*i.queue, f)
	i.mu.Unlock()
	select {
	case i.ready <- struct{}{}:
	default:
	}
}

// each runs what has come, in order.
func (i inbox) each() {
	i.mu.Lock()
	all := *i.queue
	*i.queue = nil
	i.mu.Unlock()
	for _, f := range all {
		f()
	}
}
