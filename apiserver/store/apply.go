package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Delays of the apply loop.
const (
	// retryFirst and retryLast bound the pause before a broken watch is
	// started again.
	retryFirst = 10 * time.Millisecond
	retryLast  = time.Second
	// abandonedAfter is how long a batch waits for its writer's marker.
	abandonedAfter = 100 * time.Millisecond
)

// loop is the apply loop's own state. It runs ahead of what is published by
// the revisions of batches that wait for a later revision.
type loop struct {
	revision int64
	batch    bool // revision carried several objects
	catalog  *catalog
	tables   []*table
	epochs   map[string]epoch
	dirty    []bool // tables that differ from the published ones
	newEpoch bool   // epochs differ from the published ones
	events   []*Event
}

// command runs in the apply loop, between two updates.
type command struct {
	do   func(ctx context.Context) error
	done chan error
}

// command has the apply loop run do.
func (s *Store) command(ctx context.Context, do func(ctx context.Context) error) error {
	c := command{do: do, done: make(chan error, 1)}
	select {
	case s.commands <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ErrStopped
	}
	return <-c.done
}

// follow watches the backend, over and over, until ctx ends.
func (s *Store) follow(ctx context.Context) error {
	pause := retryFirst
	for {
		before := s.loop.revision
		err := s.followOnce(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrCompacted) {
			s.config.Logger.Warn("fell behind the backend's history, reading everything again", "revision", s.loop.revision)
			err = s.load(ctx, s.loop.catalog)
		}
		if s.loop.revision != before {
			pause = retryFirst
		}
		if err != nil {
			s.config.Logger.Warn("watch of the backend broke, starting it again", "err", err, "revision", s.loop.revision)
		}
		select {
		case <-s.config.Clock.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, retryLast)
	}
}

// followOnce applies what one watch delivers until it breaks.
func (s *Store) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	updates := s.backend.Watch(ctx, rangeStart, rangeEnd, s.loop.revision+1)
	// The backend may send until its channel is closed.
	defer func() {
		cancel()
		for range updates {
		}
	}()
	var abandoned <-chan time.Time
	for {
		select {
		case u, ok := <-updates:
			if !ok {
				return errors.New("the watch ended")
			}
			if u.Err != nil {
				return u.Err
			}
			if err := s.apply(u); err != nil {
				return err
			}
			abandoned = nil
			if s.loop.batch {
				abandoned = s.config.Clock.After(abandonedAfter)
			}
		case <-abandoned:
			select {
			case s.unmarked <- s.loop.revision:
			default:
			}
			abandoned = s.config.Clock.After(abandonedAfter)
		case c := <-s.commands:
			c.done <- c.do(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply takes an update in and publishes it, unless it ends with a batch.
func (s *Store) apply(u Update) error {
	l := &s.loop
	changes := u.Changes
	for len(changes) > 0 && changes[0].Revision <= l.revision {
		changes = changes[1:] // seen before the watch broke
	}
	arrived := 0
	for i := range changes {
		arrived += len(changes[i].Value)
	}
	s.arrived.Add(int64(arrived))
	all := decodeAll(l.catalog, changes)
	for start := 0; start < len(all); {
		end, objects := start, 0
		for ; end < len(all) && all[end].Revision == all[start].Revision; end++ {
			if strings.HasPrefix(all[end].Key, registryPrefix) {
				objects++
			}
			s.take(all[end])
		}
		if all[start].Revision <= l.revision {
			return fmt.Errorf("the watch delivered revision %d after %d", all[start].Revision, l.revision)
		}
		l.revision, l.batch = all[start].Revision, objects > 1
		start = end
	}
	if len(changes) == 0 {
		if u.Revision <= l.revision {
			return nil
		}
		l.revision, l.batch = u.Revision, false
	}
	if !l.batch {
		s.publish()
	}
	return nil
}

// take applies one change to the loop's tables.
func (s *Store) take(d decoded) {
	l := &s.loop
	if d.number < 0 {
		if name, ok := strings.CutPrefix(d.Key, epochsPrefix); ok {
			l.setEpoch(name, d.Change)
		}
		return
	}
	t := l.tables[d.number]
	l.dirty[d.number] = true
	t.changed = d.Revision
	t.received.Add(1)
	if e := s.store(t, d); e != nil {
		l.events = append(l.events, e)
	}
}

// store changes a table by one key and returns the event that this makes; nil
// for none.
func (s *Store) store(t *table, d decoded) *Event {
	delete(t.corrupt, d.Key)
	if d.err != nil {
		s.config.Logger.Error("stored value cannot be decoded, the object is not served", "key", d.Key, "revision", d.Revision, "err", d.err)
		if t.corrupt == nil {
			t.corrupt = map[string]Corrupt{}
		}
		t.corrupt[d.Key] = Corrupt{Ref: d.entry.Ref, Key: d.Key, Revision: d.Revision, Err: d.err}
	}
	if d.Deleted || d.err != nil {
		before := t.remove(d.entry.Ref)
		if before == nil {
			return nil
		}
		before.verify()
		return &Event{Type: Deleted, Entry: before.at(d.Revision), Before: before}
	}
	before := t.put(d.entry)
	if before == nil {
		return &Event{Type: Added, Entry: d.entry}
	}
	before.verify()
	return &Event{Type: Modified, Entry: d.entry, Before: before}
}
