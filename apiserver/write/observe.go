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
//
// Among several servers, writes that went through another one are told too
// (Foreign). They come with the store's watch, which also brings the own ones:
// those are told apart by revision once everything that was running has ended.
// They are in order among themselves, but may come after newer own ones.
type feed struct {
	mu        sync.Mutex // guards all below
	next      int64
	running   map[int64]struct{}
	finished  finished
	observers map[*observer]struct{}
	own       map[int64]struct{} // the last revisions that were written here; nil: nobody asks
	ownOrder  []int64
}

// ownRevisions is how many own revisions are remembered: how far the watch may
// lag behind.
const ownRevisions = 16 << 10

type observer struct {
	queue chan []txn.Write
	// lagged is set when the queue was full: what follows has a gap before it.
	lagged bool
	from   int64 // foreign writes up to here are the past
	done   chan struct{}
}

// ended is a transaction that waits for older ones. The zero revision stands
// for one whose result nobody knows.
type ended struct {
	revision int64
	before   int64 // tickets below this one must have ended
	writes   []txn.Write
	foreign  bool
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
	f.remember(revision)
	switch {
	case unknown:
		f.publish([]txn.Write{{}}, false)
	case len(writes) > 0:
		heap.Push(&f.finished, ended{revision, f.next + 1, writes, false})
	}
	f.flush()
}

// foreign takes what the store's watch has brought.
func (f *feed) foreign(w txn.Write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.observers) == 0 {
		return
	}
	heap.Push(&f.finished, ended{w.Revision, f.next + 1, []txn.Write{w}, true})
	f.flush()
}

// remember notes a revision as written here. The caller holds mu.
func (f *feed) remember(revision int64) {
	if f.own == nil || revision == 0 {
		return
	}
	f.own[revision] = struct{}{}
	if f.ownOrder = append(f.ownOrder, revision); len(f.ownOrder) > ownRevisions {
		delete(f.own, f.ownOrder[0])
		f.ownOrder = f.ownOrder[1:]
	}
}

// flush publishes what nothing older can come before any more. The caller
// holds mu.
func (f *feed) flush() {
	oldest := f.next + 1
	for t := range f.running {
		oldest = min(oldest, t)
	}
	for len(f.finished) > 0 && f.finished[0].before <= oldest {
		done := heap.Pop(&f.finished).(ended)
		if _, own := f.own[done.revision]; done.foreign && own {
			continue
		}
		f.publish(done.writes, done.foreign)
	}
}

func (f *feed) publish(writes []txn.Write, foreign bool) {
	for o := range f.observers {
		if foreign && writes[0].Revision <= o.from {
			continue
		}
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
	o := &observer{queue: make(chan []txn.Write, observerBuffer), done: make(chan struct{}), from: p.Store.Latest().Revision()}
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

// Shared says, before anything is written, that others write to the store as
// well, and that Foreign and Missed will be called for what they do.
func (p *Path) Shared() {
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	p.feed.own = map[int64]struct{}{}
}

// Foreign tells the observers of a write that the store has seen, unless it was
// made here. It is called in the order of revisions.
func (p *Path) Foreign(w txn.Write) { p.feed.foreign(w) }

// Missed tells the observers that writes of others were missed.
func (p *Path) Missed() {
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	p.feed.publish([]txn.Write{{}}, false)
}
