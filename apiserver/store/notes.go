package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/headway-sh/headway/api/txn"
)

// Notes reads the records whose key begins with prefix, in the order of keys;
// all of them for an empty prefix. The read is linearizable.
func (s *Store) Notes(ctx context.Context, prefix string) ([]txn.Note, error) {
	var notes []txn.Note
	start := notesPrefix + prefix
	err := s.pages(ctx, start, prefixEnd(start), 0, func(_ int64, items []KeyValue) {
		for _, kv := range items {
			notes = append(notes, txn.Note{Key: kv.Key[len(notesPrefix):], Value: kv.Value})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	return notes, nil
}

// epoch is a singleton's newest term and the revision of its key.
type epoch struct {
	number, revision int64
}

func parseEpoch(c Change) epoch {
	n, err := strconv.ParseInt(string(c.Value), 10, 64)
	if err != nil {
		n = 0 // nobody holds it; Acquire begins again above what it finds
	}
	return epoch{number: n, revision: c.Revision}
}

func (l *loop) setEpoch(name string, c Change) {
	l.newEpoch = true
	if c.Deleted {
		delete(l.epochs, name)
		return
	}
	l.epochs[name] = parseEpoch(c)
}

// Acquire begins a new epoch of the name: every transaction that names an older
// one fails from then on with txn.ErrEpoch.
func (s *Store) Acquire(ctx context.Context, name string) (txn.Epoch, error) {
	key := epochsPrefix + name
	for {
		last := s.Snapshot().epochs[name]
		next := txn.Epoch{Name: name, Number: last.number + 1}
		response, err := s.backend.Txn(ctx, Request{
			Checks: []Check{{Key: key, Revision: last.revision}},
			Ops:    []Op{{Key: key, Value: strconv.AppendInt(nil, next.Number, 10)}},
		})
		if err != nil {
			return txn.Epoch{}, fmt.Errorf("acquire epoch %s: %w", name, err)
		}
		if err := s.reach(ctx, response.Revision); err != nil {
			return txn.Epoch{}, fmt.Errorf("acquire epoch %s: %w", name, err)
		}
		if response.Held {
			return next, nil
		}
	}
}
