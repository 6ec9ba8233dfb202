package store

import (
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Resource declares one resource to the store: where its objects are, how they
// are encoded and under which values they are indexed.
type Resource struct {
	Resource schema.GroupResource
	// Prefix is the key prefix with both slashes: "/registry/pods/".
	Prefix     string
	Namespaced bool
	// Encode and Decode are the storage encoding; both may be called
	// concurrently. Encode need not leave the resourceVersion out. Decode's
	// result is shared from then on, its argument is not used again; the store
	// sets the resourceVersion before publishing the object.
	Encode func(o txn.Object) ([]byte, error)
	Decode func(value []byte) (txn.Object, error)
	// Indexes give the values under which an object is found by EachIndexed and
	// by watches that name an index.
	Indexes map[string]func(o txn.Object) []string
}

// Entry is one stored object in the shared index.
type Entry struct {
	Ref txn.Ref
	// Object is shared and immutable; its resourceVersion is Revision.
	Object txn.Object
	// Revision is etcd's modification revision of the key.
	Revision int64

	sealed    seal
	encodings encodings
}

// EventType is what happened to an object.
type EventType int8

const (
	// Added says the object is new.
	Added EventType = iota
	// Modified says it has changed.
	Modified
	// Deleted says it is gone; Event.Entry is its last state with the
	// deletion's revision.
	Deleted
)

// Event is one change of one object, shared between all watchers.
type Event struct {
	Type  EventType
	Entry *Entry
	// Before is the state before the change; nil for Added.
	Before *Entry

	left atomic.Pointer[Event] // Left's result, once somebody asked
}

// Write is one object's part of a transaction.
type Write struct {
	Ref txn.Ref
	// Object to store; nil removes the key.
	Object txn.Object
	// Expect is the revision that the key must have; 0: it must not exist.
	Expect int64
}

// Txn is one conditional transaction.
type Txn struct {
	// Compares are further keys that must not have changed.
	Compares []txn.Compare
	Writes   []Write
	Notes    []txn.Note
	Epoch    txn.Epoch
	// Independent makes every write succeed or fail by its own Expect.
	Independent bool
}

// Done is what a transaction did.
type Done struct {
	Revision int64
	// Entries are the published entries in the order of Writes, as they were at
	// Revision; nil for removals and for writes that lost (Lost).
	Entries []*Entry
	// Lost tells, for Independent transactions, which writes failed.
	Lost []bool
}
