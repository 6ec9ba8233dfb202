package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// progressAfter is how long a read waits for a revision before it asks the
// backend how far the watch is: the revision may belong to keys outside of it.
const progressAfter = 50 * time.Millisecond

// reads gathers consistent reads, so that all that begin while one is under way
// share the next one.
type reads struct {
	mu   sync.Mutex // guards next
	next *readRound
	kick chan struct{}
}

// readRound is one question to the backend, for all who joined before it was
// asked.
type readRound struct {
	done     chan struct{}
	revision int64
	err      error
}

func (r *reads) init() {
	r.next = &readRound{done: make(chan struct{})}
	r.kick = make(chan struct{}, 1)
}

// answerReads asks the backend whenever somebody wants to know.
func (s *Store) answerReads(ctx context.Context) error {
	for {
		select {
		case <-s.reads.kick:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.reads.mu.Lock()
		round := s.reads.next
		s.reads.next = &readRound{done: make(chan struct{})}
		s.reads.mu.Unlock()
		round.revision, round.err = s.backend.Revision(ctx)
		close(round.done)
	}
}

// Current returns a snapshot that has everything that was acknowledged, by any
// server, before the call: a linearizable read.
func (s *Store) Current(ctx context.Context) (*Snapshot, error) {
	s.reads.mu.Lock()
	round := s.reads.next
	s.reads.mu.Unlock()
	select {
	case s.reads.kick <- struct{}{}:
	default: // somebody has asked already
	}
	select {
	case <-round.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.stopped:
		return nil, ErrStopped
	}
	if round.err != nil {
		return nil, fmt.Errorf("learn the current revision: %w", round.err)
	}
	if err := s.reach(ctx, round.revision); err != nil {
		return nil, err
	}
	return s.Snapshot(), nil
}

// WaitFor returns when the store has published the revision or a newer one.
func (s *Store) WaitFor(ctx context.Context, revision int64) error {
	if s.Snapshot().revision >= revision {
		return nil
	}
	return s.waiting.wait(ctx, revision)
}

// reach is WaitFor for a revision that the backend is known to have, be it of
// keys that are not watched.
func (s *Store) reach(ctx context.Context, revision int64) error {
	if s.Snapshot().revision >= revision {
		return nil
	}
	patience, cancel := context.WithTimeout(ctx, progressAfter)
	err := s.waiting.wait(patience, revision)
	cancel()
	for ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		if err := s.backend.Progress(ctx); err != nil {
			return fmt.Errorf("ask for progress: %w", err)
		}
		patience, cancel := context.WithTimeout(ctx, 20*progressAfter)
		err = s.waiting.wait(patience, revision)
		cancel()
	}
	return err
}

// At returns a snapshot that shows the resource exactly as it was at the
// revision; of other resources it may have nothing. An *ExpiredError says that
// the revision is too old.
func (s *Store) At(ctx context.Context, revision int64, resource schema.GroupResource) (*Snapshot, error) {
	if err := s.WaitFor(ctx, revision); err != nil {
		return nil, err
	}
	s.mu.RLock()
	now := s.Snapshot()
	kept := s.ring.at(revision)
	s.mu.RUnlock()
	n, ok := now.catalog.numbers[resource]
	if !ok {
		return nil, fmt.Errorf("read %s: the store does not have the resource", resource)
	}
	if kept.revision == revision {
		return kept, nil
	}
	only := &Snapshot{revision: revision, catalog: now.catalog, tables: make([]*table, len(now.tables))}
	// A later snapshot shows the same when the resource has not changed since.
	if t := kept.table(resource); t != nil && t.changed <= revision {
		only.tables[n] = t
		return only, nil
	}
	t := newTable(now.catalog.resources[n], revision)
	err := s.pages(ctx, t.resource.Prefix, prefixEnd(t.resource.Prefix), revision, func(_ int64, items []KeyValue) {
		changes := make([]Change, len(items))
		for i, kv := range items {
			changes[i] = Change{Key: kv.Key, Value: kv.Value, Revision: kv.Revision}
		}
		for _, d := range decodeAll(now.catalog, changes) {
			if d.number == n {
				s.store(t, d)
			}
		}
	})
	if errors.Is(err, ErrCompacted) {
		return nil, &ExpiredError{Revision: revision}
	}
	if err != nil {
		return nil, err
	}
	only.tables[n] = t
	return only, nil
}
