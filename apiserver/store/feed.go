package store

import (
	"slices"
	"sort"

	"github.com/headway-sh/headway/api/txn"
)

// feed is a bounded log of events that any number of watchers read with
// cursors of their own. The store's mutex guards it.
type feed struct {
	events []*Event // ascending revisions
	first  uint64   // the number of events[0]; cursors are such numbers
	limit  int
	// floor is the revision up to which events are missing, floorSplit tells
	// that floor itself had several.
	floor      int64
	floorSplit bool

	watchers int
	changed  chan struct{} // closed when events were appended, if there are watchers
	touched  bool          // collected in this round of route
}

// firstEvent is the number of a log's first event: older ones may be put in
// front of it later.
const firstEvent = 1 << 40

func newFeed(limit int, floor int64) *feed {
	return &feed{first: firstEvent, limit: limit, floor: floor, changed: make(chan struct{})}
}

// trim drops whole revisions from the front once a quarter more than the limit
// is there. The newest revision always stays.
func (f *feed) trim() {
	if len(f.events) <= f.limit+f.limit/4 {
		return
	}
	cut := len(f.events) - f.limit
	for cut > 0 && f.events[cut].Revision() == f.events[cut-1].Revision() {
		cut--
	}
	if cut == 0 {
		return
	}
	f.floor = f.events[cut-1].Revision()
	f.floorSplit = cut > 1 && f.events[cut-2].Revision() == f.floor
	f.first += uint64(cut)
	f.events = slices.Clone(f.events[cut:])
}

// reset forgets everything: who resumes from before revision, or reads on, is
// told that it has expired.
func (f *feed) reset(revision int64) {
	f.first += uint64(len(f.events)) + 1
	f.events = nil
	f.floor, f.floorSplit = revision, false
	close(f.changed)
	f.changed = make(chan struct{})
}

// seek returns the cursor of the first event after revision, or of all of
// revision when several of its events match.
func (f *feed) seek(revision int64, matches func(*Event) bool) (uint64, error) {
	if revision < f.floor || revision == f.floor && f.floorSplit {
		return 0, &ExpiredError{Revision: revision, Oldest: f.floor}
	}
	from := sort.Search(len(f.events), func(i int) bool { return f.events[i].Revision() >= revision })
	after, found := from, 0
	for ; after < len(f.events) && f.events[after].Revision() == revision; after++ {
		if matches(f.events[after]) {
			found++
		}
	}
	if found > 1 {
		return f.first + uint64(from), nil
	}
	return f.first + uint64(after), nil
}

// read returns whole revisions from the cursor on, about limit events of them,
// and the next cursor.
func (f *feed) read(cursor uint64, limit int) ([]*Event, uint64, error) {
	if cursor < f.first {
		return nil, cursor, &ExpiredError{Oldest: f.floor}
	}
	from := int(cursor - f.first)
	to := min(len(f.events), from+limit)
	for to > from && to < len(f.events) && f.events[to].Revision() == f.events[to-1].Revision() {
		to++
	}
	return slices.Clone(f.events[from:to]), f.first + uint64(to), nil
}

// feedKey names a part of a resource's events that watchers ask for.
type feedKey struct {
	// index and value, or without an index namespace and name.
	index, value    string
	namespace, name string
}

// feedSet is the feeds of one resource: the log of all its events, and for the
// parts that somebody watches logs of their own, so that a watcher is woken
// only for what concerns it and a quiet one never falls out of a busy log.
type feedSet struct {
	resource *Resource
	all      *feed
	parts    map[feedKey]*feed
	byIndex  map[string]int // how many parts there are of an index
	// forgotten is a revision that the backend has no history of.
	forgotten int64
}

func newFeedSet(r *Resource, limit int, floor int64) *feedSet {
	return &feedSet{resource: r, all: newFeed(limit, floor), parts: map[feedKey]*feed{}, byIndex: map[string]int{}}
}

// append routes an event and collects the feeds that got it.
func (s *feedSet) append(e *Event, touched []*feed) []*feed {
	add := func(f *feed, e *Event) {
		f.events = append(f.events, e)
		if !f.touched {
			f.touched = true
			touched = append(touched, f)
		}
	}
	add(s.all, e)
	if len(s.parts) == 0 {
		return touched
	}
	ref := e.Entry.Ref
	if f := s.parts[feedKey{namespace: ref.Namespace}]; f != nil {
		add(f, e)
	}
	if f := s.parts[feedKey{namespace: ref.Namespace, name: ref.Name}]; f != nil {
		add(f, e)
	}
	for index := range s.byIndex {
		for value, seen := range s.split(index, e) {
			if f := s.parts[feedKey{index: index, value: value}]; f != nil {
				add(f, seen)
			}
		}
	}
	return touched
}

// split yields the values of an index that an event concerns, with the event
// as a watcher of that value sees it.
func (s *feedSet) split(index string, e *Event) func(yield func(string, *Event) bool) {
	values := s.resource.Indexes[index]
	return func(yield func(string, *Event) bool) {
		var before, after []string
		if e.Before != nil {
			before = values(e.Before.Object)
		}
		if e.Type != Deleted {
			after = values(e.Entry.Object)
		}
		for _, v := range before {
			seen := e
			if e.Type != Deleted && !slices.Contains(after, v) {
				seen = e.Left()
			}
			if !yield(v, seen) {
				return
			}
		}
		for _, v := range after {
			if slices.Contains(before, v) {
				continue
			}
			seen := e
			if e.Type != Added {
				seen = e.Entered()
			}
			if !yield(v, seen) {
				return
			}
		}
	}
}

// join returns the feed for a key, making it from the log of all events.
func (s *feedSet) join(key feedKey) *feed {
	if key == (feedKey{}) {
		s.all.watchers++
		return s.all
	}
	f := s.parts[key]
	if f == nil {
		f = newFeed(s.all.limit, s.all.floor)
		f.floorSplit = s.all.floorSplit
		for _, e := range s.all.events {
			if seen := s.seen(key, e); seen != nil {
				f.events = append(f.events, seen)
			}
		}
		s.parts[key] = f
		if key.index != "" {
			s.byIndex[key.index]++
		}
	}
	f.watchers++
	return f
}

// seen is the event as watchers of a key see it; nil: they do not.
func (s *feedSet) seen(key feedKey, e *Event) *Event {
	if key.index == "" {
		ref := e.Entry.Ref
		if ref.Namespace == key.namespace && (key.name == "" || ref.Name == key.name) {
			return e
		}
		return nil
	}
	for value, seen := range s.split(key.index, e) {
		if value == key.value {
			return seen
		}
	}
	return nil
}

// leave gives a feed back; the last watcher of a part takes the part along.
func (s *feedSet) leave(key feedKey, f *feed) {
	f.watchers--
	if f.watchers > 0 || s.parts[key] != f {
		return
	}
	delete(s.parts, key)
	if key.index != "" {
		if s.byIndex[key.index]--; s.byIndex[key.index] == 0 {
			delete(s.byIndex, key.index)
		}
	}
}

// reset resets all feeds.
func (s *feedSet) reset(revision int64) {
	s.all.reset(revision)
	for _, f := range s.parts {
		f.reset(revision)
	}
}

// at returns the event of an object at a revision; nil when it is not in the
// log.
func (f *feed) at(ref txn.Ref, revision int64) *Event {
	from := sort.Search(len(f.events), func(i int) bool { return f.events[i].Revision() >= revision })
	for _, e := range f.events[from:] {
		if e.Revision() != revision {
			break
		}
		if e.Entry.Ref == ref {
			return e
		}
	}
	return nil
}
