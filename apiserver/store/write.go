package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/failpoint"
)

// Txn writes all of t at one revision, or nothing: then it returns a
// *txn.ConflictError that names what has changed, txn.ErrEpoch, a *LimitError
// or another error, and after one that is none of these (a time-out, say) the
// outcome is unknown. When it returns, the store's snapshots include the write,
// or what made it conflict.
func (s *Store) Txn(ctx context.Context, t Txn) (*Done, error) {
	request, response, err := s.send(ctx, &t)
	if err != nil {
		return nil, err
	}
	if err := failpoint.Hit(ctx, "store.txn.after"); err != nil {
		return nil, err
	}
	if !response.Held {
		return nil, s.refusal(ctx, &t, response.Revision)
	}
	return s.done(ctx, &t, request, response)
}

// send encodes a transaction and has the backend do it.
func (s *Store) send(ctx context.Context, t *Txn) (Request, Response, error) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	request, err := s.request(t)
	if err != nil {
		return request, Response{}, err
	}
	if err := failpoint.Hit(ctx, "store.txn.before"); err != nil {
		return request, Response{}, err
	}
	response, err := s.backend.Txn(ctx, request)
	if err != nil {
		return request, response, fmt.Errorf("write: %w", err)
	}
	return request, response, nil
}

// request translates a transaction; values are encoded here, outside of any
// lock.
func (s *Store) request(t *Txn) (Request, error) {
	c := s.Snapshot().catalog
	r := Request{Ops: make([]Op, 0, len(t.Writes)+len(t.Notes))}
	if t.Epoch != (txn.Epoch{}) {
		r.Checks = append(r.Checks, Check{Key: epochsPrefix + t.Epoch.Name, Value: strconv.AppendInt(nil, t.Epoch.Number, 10)})
	}
	for _, compare := range t.Compares {
		key, _, err := locate(c, compare.Ref)
		if err != nil {
			return r, err
		}
		r.Checks = append(r.Checks, Check{Key: key, Revision: compare.Revision})
	}
	keys := make(map[string]bool, len(t.Writes)+len(t.Notes))
	for i := range t.Writes {
		w := &t.Writes[i]
		key, resource, err := locate(c, w.Ref)
		if err != nil {
			return r, err
		}
		if keys[key] {
			return r, fmt.Errorf("write %s: twice in one transaction", w.Ref)
		}
		keys[key] = true
		op := Op{Key: key, Delete: w.Object == nil}
		if w.Object != nil {
			if op.Value, err = c.encode(resource, key, w.Object); err != nil {
				return r, fmt.Errorf("encode %s: %w", w.Ref, err)
			}
		}
		check := Check{Key: key, Revision: w.Expect}
		if t.Independent {
			op.If = &check
		} else {
			r.Checks = append(r.Checks, check)
		}
		r.Ops = append(r.Ops, op)
	}
	for _, note := range t.Notes {
		key := notesPrefix + note.Key
		if note.Key == "" || keys[key] {
			return r, fmt.Errorf("write note %q: empty, or twice in one transaction", note.Key)
		}
		keys[key] = true
		r.Ops = append(r.Ops, Op{Key: key, Value: note.Value, Delete: note.Value == nil})
	}
	return r, nil
}

func locate(c *catalog, ref txn.Ref) (string, *Resource, error) {
	n, ok := c.numbers[ref.Resource]
	if !ok {
		return "", nil, fmt.Errorf("%s: the store does not have the resource", ref)
	}
	r := c.resources[n]
	key := r.key(ref)
	if back, ok := r.ref(key); !ok || back != ref {
		return "", nil, fmt.Errorf("%s: not a name that can be stored", ref)
	}
	return key, r, nil
}

// refusal finds out what made a transaction's checks fail, from a snapshot that
// is at least as new as the failure: the caller's next plan sees it too.
func (s *Store) refusal(ctx context.Context, t *Txn, revision int64) error {
	if err := s.reach(ctx, revision); err != nil {
		return err
	}
	now := s.Snapshot()
	if t.Epoch != (txn.Epoch{}) && now.epochs[t.Epoch.Name].number != t.Epoch.Number {
		return txn.ErrEpoch
	}
	var changed, all []txn.Ref
	check := func(ref txn.Ref, revision int64) {
		all = append(all, ref)
		if table := now.table(ref.Resource); table == nil || table.revision(ref) != revision {
			changed = append(changed, ref)
		}
	}
	for _, c := range t.Compares {
		check(c.Ref, c.Revision)
	}
	if !t.Independent {
		for _, w := range t.Writes {
			check(w.Ref, w.Expect)
		}
	}
	if len(changed) == 0 {
		// What came in between went away again: any of them may have been it.
		changed = all
	}
	return &txn.ConflictError{Refs: changed}
}

// done marks a batch, waits until the write is published and collects the
// entries.
func (s *Store) done(ctx context.Context, t *Txn, request Request, response Response) (*Done, error) {
	d := &Done{Revision: response.Revision, Entries: make([]*Entry, len(t.Writes))}
	if t.Independent {
		d.Lost = make([]bool, len(t.Writes))
	}
	written := 0
	for i := range t.Writes {
		if response.Done[i] {
			written++
		} else {
			d.Lost[i] = true
		}
	}
	if written > 1 && s.Snapshot().revision < response.Revision {
		if _, err := s.mark(ctx, response.Revision); err != nil {
			// The write is done; the store marks abandoned batches itself.
			s.config.Logger.Warn("batch could not be marked by its writer", "revision", response.Revision, "err", err)
		}
	}
	if err := s.reach(ctx, response.Revision); err != nil {
		return nil, fmt.Errorf("written at revision %d, wait for it: %w", response.Revision, err)
	}
	s.collect(t, request, d)
	return d, nil
}

// collect finds the published entries of a transaction: in the newest snapshot,
// when they have been replaced since in the log, and when the log has been
// started over meanwhile in what was written.
func (s *Store) collect(t *Txn, request Request, d *Done) {
	now := s.Snapshot()
	for i, w := range t.Writes {
		if w.Object == nil || d.Lost != nil && d.Lost[i] {
			continue
		}
		e := now.Entry(w.Ref)
		if e == nil || e.Revision != d.Revision {
			e = s.logged(w.Ref, d.Revision)
		}
		if e == nil {
			op := request.Ops[i]
			e = decode(now.catalog, Change{Key: op.Key, Value: op.Value, Revision: d.Revision}).entry
		}
		d.Entries[i] = e
	}
}

// logged finds an entry in the log of its resource.
func (s *Store) logged(ref txn.Ref, revision int64) *Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, ok := s.Snapshot().catalog.numbers[ref.Resource]
	if !ok {
		return nil
	}
	if e := s.feeds[n].all.at(ref, revision); e != nil {
		return e.Entry
	}
	return nil
}
