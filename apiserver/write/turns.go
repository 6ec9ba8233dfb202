package write

import (
	"context"
	"slices"
	"sync"

	"github.com/headway-sh/headway/api/txn"
)

// turns lets the writers of one shared record, such as the use of a quota or
// the set of taken node ports, write one after the other. Without it they would
// all plan on one View, all but one would lose, and whoever is unlucky would
// lose again and again. The compares of the transactions stay what makes the
// writes safe, for other servers' writers too; turns only keep order among
// this server's.
type turns struct {
	mu    sync.Mutex // guards queue
	queue map[txn.Ref]*turn
}

type turn struct {
	slot chan struct{} // holds one token while somebody has the turn; waiters are served in order
	held int           // how many have it or wait for it
}

// wait takes the turn for all refs, and tells whether somebody else had one of
// them meanwhile: then the caller's View is old. leave must be called after it,
// whatever it returns.
func (t *turns) wait(ctx context.Context, refs []txn.Ref) (waited bool, leave func(), err error) {
	refs = slices.Clone(refs)
	slices.SortFunc(refs, txn.Ref.Compare) // one order for all, or two would wait for each other
	refs = slices.Compact(refs)
	var held []*turn
	leave = func() {
		for _, q := range held {
			<-q.slot
		}
		t.drop(refs)
	}
	for _, q := range t.join(refs) {
		select {
		case q.slot <- struct{}{}:
			held = append(held, q)
			continue
		default:
			waited = true
		}
		select {
		case q.slot <- struct{}{}:
			held = append(held, q)
		case <-ctx.Done():
			return waited, leave, ctx.Err()
		}
	}
	return waited, leave, nil
}

func (t *turns) join(refs []txn.Ref) []*turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*turn, len(refs))
	for i, ref := range refs {
		q := t.queue[ref]
		if q == nil {
			q = &turn{slot: make(chan struct{}, 1)}
			if t.queue == nil {
				t.queue = map[txn.Ref]*turn{}
			}
			t.queue[ref] = q
		}
		q.held++
		all[i] = q
	}
	return all
}

func (t *turns) drop(refs []txn.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ref := range refs {
		q := t.queue[ref]
		if q.held--; q.held == 0 {
			delete(t.queue, ref)
		}
	}
}
