// Package queue holds the pods that wait for a node.
//
//	          Add                    Pop
//	────────────────▶ active ────────────────▶ decided
//	                   ▲  ▲                       │ no node: Park
//	   back-off is over│  │Wake or MaxParked,     ▼
//	                   │  │back-off over
//	                   │  └──────────────────── parked
//	                 backoff ◀──Wake────────────  │
//	                   ▲                          │
//	                   └──── lost: Retry ─────────┘
//
// It is owned by one goroutine and has no clock of its own.
package queue

import (
	"cmp"
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/scheduler/core"
)

// The wait of a pod doubles with each attempt that failed, between these
// unless SetBackoff says otherwise.
const (
	InitialBackoff = time.Second
	MaxBackoff     = 10 * time.Second
)

// MaxParked is how long a pod waits for a change that helps. Then it is tried
// again all the same: a hint that is wrong must not lose a pod.
const MaxParked = 5 * time.Minute

// Item is a waiting pod.
type Item struct {
	Pod *core.Pod
	// Attempts is how often no node was found or a bind was lost.
	Attempts int
	// Added is when the pod began to wait.
	Added time.Time

	ready time.Time // when the back-off is over
	until time.Time // when it has been parked for too long
	helps core.Change
	state place
	index int
	order int64
}

type place int8

const (
	nowhere place = iota
	active
	backoff
	parked
)

// Queue is the waiting pods. The zero value is not usable; see New.
type Queue struct {
	items   map[types.UID]*Item
	active  items
	backoff items
	// parked by what would help, so that a change wakes only whom it may help.
	parked map[core.Change]map[types.UID]*Item
	stale  items // the parked ones by until
	order  int64

	initial, most time.Duration
}

// New returns an empty queue.
func New() *Queue {
	return &Queue{
		items:   map[types.UID]*Item{},
		initial: InitialBackoff,
		most:    MaxBackoff,
		active:  items{less: byPriority},
		backoff: items{less: func(a, b *Item) int { return a.ready.Compare(b.ready) }},
		stale:   items{less: func(a, b *Item) int { return a.until.Compare(b.until) }},
		parked:  map[core.Change]map[types.UID]*Item{},
	}
}

// SetBackoff sets the first and the longest wait; 0 leaves one as it is.
func (q *Queue) SetBackoff(initial, most time.Duration) {
	q.initial, q.most = cmp.Or(initial, q.initial), cmp.Or(most, q.most)
}

func byPriority(a, b *Item) int {
	return cmp.Or(cmp.Compare(b.Pod.Priority, a.Pod.Priority), a.Added.Compare(b.Added), cmp.Compare(a.order, b.order))
}

// Len is how many pods wait, wherever.
func (q *Queue) Len() int { return len(q.items) }

// Waiting is how many pods wait to be popped, for their back-off to end, and for
// a change that helps.
func (q *Queue) Waiting() (ready, backingOff, waiting int) {
	return len(q.active.list), len(q.backoff.list), len(q.stale.list)
}

// Item is a pod that waits or is being bound; nil when it does not.
func (q *Queue) Item(uid types.UID) *Item { return q.items[uid] }

// Has tells whether the pod waits or is being bound.
func (q *Queue) Has(uid types.UID) bool { return q.items[uid] != nil }

// Add lets a pod wait, or takes over its changes: one that asks for something
// else than before is tried again at once.
func (q *Queue) Add(p *core.Pod, now time.Time) {
	item, ok := q.items[p.UID]
	if !ok {
		q.order++
		item = &Item{Pod: p, Added: now, order: q.order}
		q.items[p.UID] = item
		q.put(item, active)
		return
	}
	same := item.Pod.Class == p.Class && item.Pod.Object.Generation == p.Object.Generation && item.Pod.Priority == p.Priority
	item.Pod = p
	if !same && item.state != nowhere {
		q.put(item, active)
	}
}

// Remove forgets a pod.
func (q *Queue) Remove(uid types.UID) {
	if item, ok := q.items[uid]; ok {
		q.put(item, nowhere)
		delete(q.items, uid)
	}
}

// Pop takes the pod that is next; it still counts until Done, Park or Retry.
func (q *Queue) Pop(now time.Time) (*Item, bool) {
	for len(q.backoff.list) > 0 && !q.backoff.list[0].ready.After(now) {
		q.put(q.backoff.list[0], active)
	}
	for len(q.stale.list) > 0 && !q.stale.list[0].until.After(now) {
		q.put(q.stale.list[0], active)
	}
	if len(q.active.list) == 0 {
		return nil, false
	}
	item := q.active.list[0]
	q.put(item, nowhere)
	return item, true
}

// Next is when the next back-off or wait for a change ends; the zero time when
// none does.
func (q *Queue) Next() time.Time {
	switch {
	case len(q.stale.list) == 0 && len(q.backoff.list) == 0:
		return time.Time{}
	case len(q.stale.list) == 0 || len(q.backoff.list) > 0 && q.backoff.list[0].ready.Before(q.stale.list[0].until):
		return q.backoff.list[0].ready
	}
	return q.stale.list[0].until
}

// Park lets a pod wait for a change that helps.
func (q *Queue) Park(item *Item, helps core.Change, now time.Time) {
	if q.items[item.Pod.UID] != item {
		return // removed meanwhile
	}
	item.Attempts++
	item.helps = helps
	item.ready, item.until = now.Add(q.wait(item.Attempts)), now.Add(MaxParked)
	q.put(item, parked)
}

// Retry tries a pod whose decision came to nothing again after its back-off.
func (q *Queue) Retry(uid types.UID, now time.Time) {
	item, ok := q.items[uid]
	if !ok || item.state != nowhere && item.state != parked {
		return
	}
	item.Attempts++
	item.ready = now.Add(q.wait(item.Attempts))
	q.put(item, backoff)
}

// Activate tries a pod again at once, wherever it waits.
func (q *Queue) Activate(uid types.UID, now time.Time) {
	if item, ok := q.items[uid]; ok && item.state != nowhere {
		item.ready = now
		q.put(item, active)
	}
}

// Wake moves the parked pods that the change may help.
func (q *Queue) Wake(change core.Change, now time.Time) {
	for helps, group := range q.parked {
		if helps&change == 0 {
			continue
		}
		for _, item := range group {
			if item.ready.After(now) {
				q.put(item, backoff)
			} else {
				q.put(item, active)
			}
		}
	}
}

func (q *Queue) wait(attempts int) time.Duration {
	d := q.initial
	for range attempts - 1 {
		if d *= 2; d >= q.most {
			break
		}
	}
	return min(d, q.most)
}

// put moves an item from where it is.
func (q *Queue) put(item *Item, to place) {
	switch item.state {
	case active:
		heap.Remove(&q.active, item.index)
	case backoff:
		heap.Remove(&q.backoff, item.index)
	case parked:
		heap.Remove(&q.stale, item.index)
		if delete(q.parked[item.helps], item.Pod.UID); len(q.parked[item.helps]) == 0 {
			delete(q.parked, item.helps)
		}
	}
	item.state = to
	switch to {
	case active:
		heap.Push(&q.active, item)
	case backoff:
		heap.Push(&q.backoff, item)
	case parked:
		if q.parked[item.helps] == nil {
			q.parked[item.helps] = map[types.UID]*Item{}
		}
		q.parked[item.helps][item.Pod.UID] = item
		heap.Push(&q.stale, item)
	}
}

// items is a heap of items that know their index.
type items struct {
	list []*Item
	less func(a, b *Item) int
}

func (h *items) Len() int           { return len(h.list) }
func (h *items) Less(i, j int) bool { return h.less(h.list[i], h.list[j]) < 0 }
func (h *items) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].index, h.list[j].index = i, j
}

// Push is container/heap's.
func (h *items) Push(x any) {
	x.(*Item).index = len(h.list)
	h.list = append(h.list, x.(*Item))
}

// Pop is container/heap's.
func (h *items) Pop() any {
	last := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return last
}
