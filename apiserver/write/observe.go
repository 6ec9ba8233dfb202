package write

import (
	"container/heap"
	"sync"

	"github.com/headway-sh/headway/api/txn"
)

// observerBuffer is how many transactions an observer may be behind.
const observerBuffer = 1024

// feed puts the writes of concurrent transactions into the order of their
// revisions. A transaction takes a ticket before it starts; its writes go out
// once every transaction that began before it ended has ended too: whatever
// begins later has a higher revision.
type feed struct {
	mu        sync.Mutex // guards all below
	next      int64
	running   map[int64]struct{}
	finished  finished
	observers map[*observer]struct{}
}

type observer struct {
	queue chan []txn.Write
	// lagged is set when the queue was full: what follows has a gap before it.
	lagged bool
	done   chan struct{}
}

// ended is a transaction that waits for older ones. The zero revision stands
// for one whose result nobody knows.
type ended struct {
	revision int64
	before   int64 // tickets below this one must have ended
	writes   []txn.Write
}

type finished []ended

func (f finished) Len() int           { return len(f) }
func (f finished) Less(i, j int) bool { return f[i].revision < f[j].revision }
func (f finished) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *finished) Push(x any)        { *f = append(*f, x.(ended)) }
func (f *finished) Pop() any {
	old := *f
	last := old[len(old)-1]
	*f = old[:len(old)-1]
	return last
}

func newFeed() *feed {
	return &feed{running: map[int64]struct{}{}, observers: map[*observer]struct{}{}}
}

func (f *feed) begin() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	f.running[f.next] = struct{}{}
	return f.next
}

func (f *feed) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.observers) > 0
}

// end finishes a transaction. unknown says that nobody knows whether it wrote.
func (f *feed) end(ticket, revision int64, writes []txn.Write, unknown bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, ticket)
	switch {
	case unknown:
		f.publish([]txn.Write{{}})
	case len(writes) > 0:
		heap.Push(&f.finished, ended{revision, f.next + 1, writes})
	}
	oldest := f.next + 1
	for t := range f.running {
		oldest = min(oldest, t)
	}
	for len(f.finished) > 0 && f.finished[0].before <= oldest {
		f.publish(heap.Pop(&f.finished).(ended).writes)
	}
}

func (f *feed) publish(writes []txn.Write) {
	for o := range f.observers {
		batch := writes
		if o.lagged {
			batch = append([]txn.Write{{}}, writes...)
		}
		select {
		case o.queue <- batch:
			o.lagged = false
		default:
			o.lagged = true
		}
	}
}

// missed tells, once, an observer that has caught up that there was a gap.
func (f *feed) missed(o *observer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !o.lagged || len(o.queue) > 0 {
		return false
	}
	o.lagged = false
	return true
}

// Observe calls fn for every write, in order, until stop is called. It
// implements txn.Interface.
func (p *Path) Observe(fn func(txn.Write)) (stop func()) {
	o := &observer{queue: make(chan []txn.Write, observerBuffer), done: make(chan struct{})}
	f := p.feed
	f.mu.Lock()
	f.observers[o] = struct{}{}
	f.mu.Unlock()
	go func() {
		defer close(o.done)
		for writes := range o.queue {
			for _, w := range writes {
				fn(w)
			}
			if f.missed(o) {
				fn(txn.Write{})
			}
		}
	}()
	return sync.OnceFunc(func() {
		f.mu.Lock()
		delete(f.observers, o)
		close(o.queue)
		f.mu.Unlock()
		<-o.done
	})
}
