package store

import (
	"strconv"

	"github.com/headway-sh/headway/api/txn"
)

// at returns the entry's last state as of a later revision, for deletions.
func (e *Entry) at(revision int64) *Entry {
	o := e.Object.DeepCopyObject().(txn.Object)
	o.SetResourceVersion(strconv.FormatInt(revision, 10))
	gone := &Entry{Ref: e.Ref, Object: o, Revision: revision}
	gone.seal()
	return gone
}

// Revision is the revision of the change.
func (e *Event) Revision() int64 { return e.Entry.Revision }

// Left returns the event as a watcher sees it whose selection matched Before
// and does not match the object any more: a Deleted event with the last state
// that matched, at the change's revision. It is made once and shared.
func (e *Event) Left() *Event {
	if left := e.left.Load(); left != nil {
		return left
	}
	e.left.CompareAndSwap(nil, &Event{Type: Deleted, Entry: e.Before.at(e.Revision()), Before: e.Before})
	return e.left.Load()
}

// Entered returns the event as a watcher sees it whose selection matches the
// object and did not match Before: an Added event.
func (e *Event) Entered() *Event {
	return &Event{Type: Added, Entry: e.Entry}
}

// Select returns the event as a watcher with a selection sees it, or nil when
// it does not concern that watcher. matches is asked about the object before
// and after the change; Left and Entered tell about transitions.
func (e *Event) Select(matches func(o txn.Object) bool) *Event {
	switch before := e.Before != nil && matches(e.Before.Object); {
	case e.Type == Deleted:
		if before {
			return e
		}
		return nil
	case matches(e.Entry.Object):
		if before || e.Type == Added {
			return e
		}
		return e.Entered()
	case before:
		return e.Left()
	}
	return nil
}
