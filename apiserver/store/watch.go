package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
)

// deliveryEvents is about how many events one Next returns.
const deliveryEvents = 256

// WatchOptions say what to watch.
type WatchOptions struct {
	Resource schema.GroupResource
	// Namespace and Name narrow the watch; empty: all of them.
	Namespace, Name string
	// Index and IndexValue narrow it to the objects that have the value in an
	// index of the resource; where there is no such index, or no longer, the
	// watch has expired before it began. An object that begins to match is seen as Added,
	// one that ceases to as Deleted. Other selections (labels, other fields)
	// are the caller's, with Event.Select.
	Index, IndexValue string
	// From is the revision that the caller has seen: a snapshot's, a
	// bookmark's or an event's. 0: the current snapshot's.
	From int64
	// Bookmarks, when not zero, is how long a watcher may stay silent before it
	// gets a bookmark, if there is any progress to tell.
	Bookmarks time.Duration
}

// Delivery is what a watcher gets at once: events of whole revisions, or, when
// there are none, a bookmark.
type Delivery struct {
	// Events are shared, in the order of revisions.
	Events []*Event
	// Bookmark is the revision up to which the watcher has seen everything,
	// never a batch's; 0 when there are Events.
	Bookmark int64
}

// Watcher is a cursor into the store's log. It holds no goroutine and no
// buffer. Next is called by one goroutine at a time; it must be closed.
type Watcher struct {
	store   *Store
	set     *feedSet
	feed    *feed
	key     feedKey
	options WatchOptions
	cursor  uint64
	told    int64 // the newest revision that the caller knows of
	closing sync.Once
}

// Watch begins to watch. It waits until the store has reached From. When From
// is older than the log the backend is asked for what it remembers; an
// *ExpiredError says that this does not reach back far enough.
//
// Resuming at a revision replays all of its events when more than one of them
// is the watch's, else it begins with the next revision.
func (s *Store) Watch(ctx context.Context, o WatchOptions) (*Watcher, error) {
	if err := s.WaitFor(ctx, o.From); err != nil {
		return nil, err
	}
	w, n, err := s.join(o)
	if !IsExpired(err) {
		return w, err
	}
	if err := s.recall(ctx, n, o.From); err != nil {
		return nil, err
	}
	w, _, err = s.join(o)
	return w, err
}

// join makes the watcher and gives its resource's number.
func (s *Store) join(o WatchOptions) (*Watcher, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Snapshot()
	n, ok := now.catalog.numbers[o.Resource]
	if !ok {
		return nil, 0, fmt.Errorf("watch %s: the store does not have the resource", o.Resource)
	}
	if o.From == 0 {
		o.From = now.revision
	}
	key := feedKey{namespace: o.Namespace, name: o.Name}
	if o.Index != "" {
		if now.catalog.resources[n].Indexes[o.Index] == nil {
			return nil, n, &ExpiredError{Revision: o.From}
		}
		key = feedKey{index: o.Index, value: o.IndexValue}
	} else if o.Name != "" && o.Namespace == "" && now.catalog.resources[n].Namespaced {
		key = feedKey{} // one name in all namespaces: chosen by concerns
	}
	w := &Watcher{store: s, set: s.feeds[n], key: key, options: o, told: o.From}
	w.feed = w.set.join(key)
	var err error
	if w.cursor, err = w.feed.seek(o.From, w.concerns); err != nil {
		w.set.leave(key, w.feed)
		return nil, n, err
	}
	return w, n, nil
}

// concerns applies what the feed's key does not say.
func (w *Watcher) concerns(e *Event) bool {
	ref := e.Entry.Ref
	return (w.options.Namespace == "" || ref.Namespace == w.options.Namespace) && (w.options.Name == "" || ref.Name == w.options.Name)
}

// Next blocks until there is something to deliver. It returns an
// *ExpiredError when the watcher has fallen out of the log, ctx's error, or
// ErrStopped.
func (w *Watcher) Next(ctx context.Context) (Delivery, error) {
	var timer clock.Timer
	var due <-chan time.Time
	for {
		events, changed, err := w.read()
		if err != nil {
			return Delivery{}, err
		}
		if len(events) > 0 {
			w.told = events[len(events)-1].Revision()
			return Delivery{Events: events}, nil
		}
		if timer == nil && w.options.Bookmarks > 0 {
			timer = w.store.config.Clock.NewTimer(w.options.Bookmarks)
			defer timer.Stop()
			due = timer.C()
		}
		select {
		case <-changed:
		case <-due:
			if reached := w.Revision(); reached > w.told {
				w.told = reached
				return Delivery{Bookmark: reached}, nil
			}
			timer.Reset(w.options.Bookmarks)
		case <-ctx.Done():
			return Delivery{}, ctx.Err()
		case <-w.store.stopped:
			return Delivery{}, ErrStopped
		}
	}
}

// read takes what is in the log, or the channel that is closed when there is
// more.
func (w *Watcher) read() (events []*Event, changed <-chan struct{}, err error) {
	w.store.mu.RLock()
	events, next, err := w.feed.read(w.cursor, deliveryEvents)
	changed = w.feed.changed
	w.store.mu.RUnlock()
	if err != nil {
		select {
		case <-w.store.stopped:
			return nil, nil, ErrStopped
		default:
			return nil, nil, err
		}
	}
	w.cursor = next
	return slices.DeleteFunc(events, func(e *Event) bool { return !w.concerns(e) }), changed, nil
}

// Revision is the revision up to which Next has delivered everything: the
// newest one when nothing is left to deliver, else the last delivered event's.
func (w *Watcher) Revision() int64 {
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	if w.cursor >= w.feed.first && w.cursor == w.feed.first+uint64(len(w.feed.events)) {
		return w.store.Snapshot().revision
	}
	return w.told
}

// Close ends the watch. A Next that is under way goes on until its context
// ends.
func (w *Watcher) Close() {
	w.closing.Do(func() {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		w.set.leave(w.key, w.feed)
	})
}
