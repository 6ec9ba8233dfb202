package store

import (
	"maps"
)

// publish makes the loop's state the current one: the snapshot and the watch
// logs move together.
func (s *Store) publish() {
	l := &s.loop
	next := s.freeze()
	s.mu.Lock()
	s.current.Store(next)
	s.ring.push(next)
	woken := s.route(l.events)
	s.mu.Unlock()
	for _, changed := range woken {
		close(changed)
	}
	l.events = nil
	s.waiting.reached(next.revision)
	select {
	case s.wrote <- next.revision:
	default: // housekeeping has not looked at the one before yet
	}
}

// restart publishes freshly read contents. Watches of before have missed what
// happened in between and are told so.
func (s *Store) restart() {
	l := &s.loop
	l.newEpoch = true
	for n := range l.dirty {
		l.dirty[n] = true
	}
	next := s.freeze()
	s.mu.Lock()
	s.current.Store(next)
	s.ring.clear()
	s.ring.push(next)
	for n, r := range l.catalog.resources {
		if n == len(s.feeds) {
			s.feeds = append(s.feeds, newFeedSet(r, s.config.LogEvents, next.revision))
		}
		s.feeds[n].reset(next.revision)
	}
	s.mu.Unlock()
	s.waiting.reached(next.revision)
}

// freeze makes the loop's state a snapshot. What has not changed is shared with
// the one before.
func (s *Store) freeze() *Snapshot {
	l := &s.loop
	last := s.current.Load()
	next := &Snapshot{revision: l.revision, catalog: l.catalog, tables: make([]*table, len(l.tables))}
	for n, t := range l.tables {
		switch {
		case t == nil:
		case l.dirty[n]:
			next.tables[n] = t.clone()
			l.dirty[n] = false
		default:
			next.tables[n] = last.tables[n]
		}
	}
	if l.newEpoch {
		next.epochs = maps.Clone(l.epochs)
		l.newEpoch = false
	} else {
		next.epochs = last.epochs
	}
	return next
}

// route appends events to the logs of the feeds that they belong to and
// returns the channels to close for it. s.mu is held.
func (s *Store) route(events []*Event) []chan struct{} {
	var touched []*feed
	for _, e := range events {
		n, ok := s.loop.catalog.numbers[e.Entry.Ref.Resource]
		if !ok {
			continue
		}
		touched = s.feeds[n].append(e, touched)
	}
	woken := make([]chan struct{}, 0, len(touched))
	for _, f := range touched {
		f.trim()
		f.touched = false
		if f.watchers > 0 {
			woken = append(woken, f.changed)
			f.changed = make(chan struct{})
		}
	}
	return woken
}
