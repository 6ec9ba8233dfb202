package store

import (
	"context"
	"errors"
	"fmt"
)

const (
	// recallRevisions is how far before its own time a store looks at least when
	// somebody wants to resume there: after a restart many do, each at a
	// revision of its own.
	recallRevisions = 2048
	// recallLimit bounds how far back it looks at all.
	recallLimit = 50_000
)

// recall fills the log of a resource with what the backend remembers of before
// the store's own time, so that a watch may resume at the revision. It returns
// an *ExpiredError when that cannot be had: history was compacted, or it would
// not fit into the log.
func (s *Store) recall(ctx context.Context, n int, revision int64) error {
	select {
	case s.recalling <- struct{}{}:
		defer func() { <-s.recalling }()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ErrStopped
	}
	s.mu.RLock()
	set, now := s.feeds[n], s.Snapshot()
	floor, room := set.all.floor, set.all.room()
	hopeless := revision <= set.forgotten || revision < floor-recallLimit || room <= 0
	s.mu.RUnlock()
	expired := &ExpiredError{Revision: revision, Oldest: floor}
	switch {
	case floor < revision:
		return nil // somebody else has just recalled it
	case hopeless:
		return expired
	}
	from, past, err := s.past(ctx, set.resource, revision, floor, room)
	if errors.Is(err, ErrCompacted) {
		s.mu.Lock()
		set.forgotten = max(set.forgotten, revision)
		s.mu.Unlock()
		return expired
	}
	if err != nil {
		return fmt.Errorf("recall the history of %s: %w", set.resource.Resource, err)
	}
	events := remembered(now, n, past)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.feeds[n] != set || set.all.floor != floor || len(events) > set.all.room() {
		return expired // the log has moved on
	}
	set.prepend(events, from-1)
	return nil
}

// past reads the changes up to the floor: many of them if they are to be had,
// else those from the revision on.
func (s *Store) past(ctx context.Context, r *Resource, revision, floor int64, room int) (from int64, past []Past, err error) {
	from = max(1, min(revision, floor-recallRevisions))
	past, err = s.backend.History(ctx, r.Prefix, prefixEnd(r.Prefix), from, floor, room)
	if errors.Is(err, ErrCompacted) && from < revision {
		from = revision
		past, err = s.backend.History(ctx, r.Prefix, prefixEnd(r.Prefix), from, floor, room)
	}
	return from, past, err
}

// remembered makes events of past changes. Values that cannot be decoded count
// as absent, as they do in the tables.
func remembered(now *Snapshot, n int, past []Past) []*Event {
	events := make([]*Event, 0, len(past))
	last := map[string]*Entry{}
	for i := range past {
		p := &past[i]
		before, known := last[p.Key]
		if !known && p.Previous != nil {
			before = rememberedEntry(now, n, Change{Key: p.Key, Value: p.Previous.Value, Revision: p.Previous.Revision})
		}
		var after *Entry
		if !p.Deleted {
			after = rememberedEntry(now, n, p.Change)
		}
		last[p.Key] = after
		switch {
		case after != nil && before != nil:
			events = append(events, &Event{Type: Modified, Entry: after, Before: before})
		case after != nil:
			events = append(events, &Event{Type: Added, Entry: after})
		case before != nil:
			events = append(events, &Event{Type: Deleted, Entry: before.at(p.Revision), Before: before})
		}
	}
	return events
}

// rememberedEntry is the table's own entry when it still is the current one.
func rememberedEntry(now *Snapshot, n int, c Change) *Entry {
	ref, ok := now.catalog.resources[n].ref(c.Key)
	if !ok {
		return nil
	}
	if e := now.Entry(ref); e != nil && e.Revision == c.Revision {
		return e
	}
	d := decode(now.catalog, c)
	if d.number != n || d.err != nil {
		return nil
	}
	return d.entry
}

// room is how many events may be put in front of the log.
func (f *feed) room() int { return f.limit - len(f.events) }

// prepend puts older events in front of all logs of the resource, which then
// are complete after the floor; the floor's own events are not known.
func (s *feedSet) prepend(events []*Event, floor int64) {
	s.all.prepend(events, floor)
	for key, f := range s.parts {
		var seen []*Event
		for _, e := range events {
			if e.Revision() > f.floor {
				break
			}
			if e := s.seen(key, e); e != nil {
				seen = append(seen, e)
			}
		}
		f.prepend(seen, floor)
	}
}

func (f *feed) prepend(events []*Event, floor int64) {
	if floor >= f.floor {
		return
	}
	f.events = append(events[:len(events):len(events)], f.events...)
	f.first -= uint64(len(events))
	f.floor, f.floorSplit = floor, true
}
