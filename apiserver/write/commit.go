package write

import (
	"context"
	"errors"
	"fmt"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

// errForeign refuses a Result that this write path has not planned.
var errForeign = errors.New("commit: the result was not planned here; plan the changes first")

// errHypothetical refuses a Result that relies on changes nobody has written.
var errHypothetical = errors.New("commit: the result was planned on top of pending changes; plan on the store's own view")

// errDryRun refuses a Result that admission was told would not be written.
var errDryRun = errors.New("commit: the changes were planned as a dry run; plan them without it")

// Commit writes a planned Result in one transaction. It implements
// txn.Interface.
func (p *Path) Commit(ctx context.Context, result *txn.Result, options txn.CommitOptions) (*txn.Committed, error) {
	record, ok := p.plans.recall(result)
	if !ok {
		return nil, errForeign
	}
	if record.hypothetical {
		return nil, errHypothetical
	}
	if record.dryRun {
		return nil, errDryRun
	}
	b, err := newBatch(record, options)
	if err != nil {
		return nil, err
	}
	done := &txn.Committed{Revision: record.base.Revision(), Objects: make([]txn.Object, len(record.planned)), Failed: b.failed}
	if len(b.txn.Writes) == 0 && len(b.txn.Notes) == 0 {
		for i, one := range record.planned {
			done.Objects[i] = one.outcome.After
		}
		return done, nil
	}
	if err := p.attach(ctx, record.planned); err != nil {
		return nil, err
	}
	stored, err := p.transact(ctx, b.txn, b.changes)
	if err != nil {
		return nil, err
	}
	done.Revision = stored.Revision
	for i, one := range record.planned {
		w, written := b.writeOf[i]
		switch {
		case b.failed[i] != nil:
		case !written:
			done.Objects[i] = one.outcome.After
		case stored.Lost != nil && stored.Lost[w]:
			b.failed[i] = &txn.ConflictError{Refs: []txn.Ref{one.outcome.Change.Ref}}
		case stored.Entries[w] != nil:
			done.Objects[i] = stored.Entries[w].Object
		}
	}
	return done, nil
}

// batch is a transaction and what each outcome has to do with it.
type batch struct {
	txn     store.Txn
	changes []attributed    // one a write; the zero value for bookkeeping
	writeOf map[int]int     // outcome → write
	byRef   map[txn.Ref]int // object → write
	failed  map[int]error
}

// attributed says what a write was asked for as.
type attributed struct {
	change        txn.Change
	by            txn.Identity
	before, after txn.Object
	own           bool // asked for, and not bookkeeping
}

func newBatch(record *sealed, options txn.CommitOptions) (*batch, error) {
	b := &batch{
		txn:     store.Txn{Compares: record.compares, Notes: options.Notes, Epoch: options.Epoch, Independent: options.Independent},
		writeOf: map[int]int{}, byRef: map[txn.Ref]int{}, failed: map[int]error{},
	}
	for i, one := range record.planned {
		switch o := one.outcome; {
		case o.Err != nil && !options.Independent:
			return nil, fmt.Errorf("commit %s: %w", o.Change.Ref, o.Err)
		case o.Err != nil:
			b.failed[i] = o.Err
			continue
		case options.Independent && len(one.extra) > 0:
			return nil, fmt.Errorf("commit %s: it needs further writes and cannot be independent", o.Change.Ref)
		case o.Operation != txn.Unchanged:
			b.writeOf[i] = b.put(record.base, o.Change.Ref, o.After, attributed{change: o.Change, by: one.told.By, before: o.Before, after: o.After, own: true})
		}
		for _, e := range one.extra {
			b.put(record.base, e.ref, e.object, attributed{})
		}
		b.txn.Notes = append(b.txn.Notes, one.notes...)
	}
	return b, nil
}

// put adds a write, or replaces the object of an earlier one: several changes
// of one object become one write from what the base has to the last state.
func (b *batch) put(base txn.View, ref txn.Ref, o txn.Object, by attributed) int {
	if i, ok := b.byRef[ref]; ok {
		b.txn.Writes[i].Object = o
		if b.changes[i].own {
			by.before = b.changes[i].before
		}
		b.changes[i] = by
		return i
	}
	b.txn.Writes = append(b.txn.Writes, storeWrite(base, ref, o))
	b.changes = append(b.changes, by)
	b.byRef[ref] = len(b.txn.Writes) - 1
	return len(b.txn.Writes) - 1
}

// attach makes the store ready for custom resources whose definition may be in
// the same transaction.
func (p *Path) attach(ctx context.Context, all []planned) error {
	for _, one := range all {
		if one.kind == nil || one.kind.Shape == nil || one.outcome.Err != nil {
			continue
		}
		if err := p.Custom.Attach(ctx, one.kind.Stored()); err != nil {
			return fmt.Errorf("prepare the store for %s: %w", one.kind.Resource(), err)
		}
	}
	return nil
}

// transact writes and tells the observers.
func (p *Path) transact(ctx context.Context, t store.Txn, changes []attributed) (*store.Done, error) {
	ticket := p.feed.begin()
	done, err := p.Store.Txn(ctx, t)
	if err != nil {
		// A conflict has written nothing; after any other error nobody knows.
		p.feed.end(ticket, 0, nil, !txn.IsConflict(err) && !errors.Is(err, txn.ErrEpoch))
		return nil, err
	}
	var writes []txn.Write
	if p.feed.wanted() {
		writes = p.describe(done, changes)
	}
	p.feed.end(ticket, done.Revision, writes, false)
	return done, nil
}

func (p *Path) describe(done *store.Done, changes []attributed) []txn.Write {
	writes := make([]txn.Write, 0, len(changes))
	for i, c := range changes {
		if !c.own || (done.Lost != nil && done.Lost[i]) {
			continue
		}
		after := c.after
		if done.Entries[i] != nil {
			after = done.Entries[i].Object
		}
		writes = append(writes, txn.Write{
			Identity: c.by, Ref: c.change.Ref, Subresource: c.change.Subresource, FieldManager: c.change.FieldManager,
			Before: c.before, After: after, Revision: done.Revision, Time: p.Clock.Now(),
		})
	}
	return writes
}

// View implements txn.Interface.
func (p *Path) View(ctx context.Context) (txn.View, error) { return p.Store.View(ctx) }

// Notes implements txn.Interface.
func (p *Path) Notes(ctx context.Context, prefix string) ([]txn.Note, error) {
	return p.Store.Notes(ctx, prefix)
}

// Acquire implements txn.Interface.
func (p *Path) Acquire(ctx context.Context, name string) (txn.Epoch, error) {
	return p.Store.Acquire(ctx, name)
}

var _ txn.Interface = (*Path)(nil)
