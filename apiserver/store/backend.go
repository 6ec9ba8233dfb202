package store

import "context"

// Backend is the edge to the key-value store: the part of etcd that the store
// uses. Implementations are safe for concurrent use. Errors that mean the same
// everywhere are ErrCompacted, ErrStorageFull and the *LimitError.
type Backend interface {
	// Txn checks all of r.Checks and then does all of r.Ops at one revision, or
	// nothing when a check does not hold. It is linearizable and durable when
	// it returns. After an error other than a refusal the outcome is unknown.
	Txn(ctx context.Context, r Request) (Response, error)
	// Range returns the keys in [start, end) in order, at most limit of them
	// (0: all). Revision 0 reads the current state linearizably, any other the
	// state at exactly that revision, or ErrCompacted.
	Range(ctx context.Context, start, end string, revision int64, limit int) (RangeResult, error)
	// Revision learns the current revision by a linearizable read.
	Revision(ctx context.Context) (int64, error)
	// Watch delivers every change in [start, end) from revision on, in order,
	// never a part of a revision. The channel is closed when ctx ends or after
	// an Update with Err.
	Watch(ctx context.Context, start, end string, revision int64) <-chan Update
	// History returns the changes in [start, end) from one revision to another,
	// both included, in order and each with what it replaced. It returns
	// ErrCompacted when not all of that is remembered, or when there are more
	// than limit.
	History(ctx context.Context, start, end string, from, to int64, limit int) ([]Past, error)
	// Progress asks for an Update on the running watches that says up to which
	// revision they are complete, for when keys outside the range were written.
	Progress(ctx context.Context) error
	// Compact forgets history before revision; ErrCompacted when it was
	// forgotten already.
	Compact(ctx context.Context, revision int64) error
	// Usage tells how much of the storage quota is taken.
	Usage(ctx context.Context) (Usage, error)
	// Defragment gives free space inside the database file back. It may stall
	// the backend for a while.
	Defragment(ctx context.Context) error
}

// Check is a condition on one key.
type Check struct {
	Key string
	// Revision that the key must have been modified at; 0: there is no such key.
	Revision int64
	// Value, when not nil, is compared instead of the revision.
	Value []byte
}

// Op is one put or removal.
type Op struct {
	Key    string
	Value  []byte
	Delete bool
	// If, when not nil, decides about this operation alone.
	If *Check
}

// Request is one conditional transaction. A key occurs once in Ops.
type Request struct {
	Checks []Check
	Ops    []Op
}

// Response is what became of a Request.
type Response struct {
	// Held says that all checks held.
	Held bool
	// Revision is the revision after the transaction.
	Revision int64
	// Done tells, when Held, which operations were done.
	Done []bool
}

// KeyValue is one stored key.
type KeyValue struct {
	Key      string
	Value    []byte
	Revision int64
}

// RangeResult is a page of keys.
type RangeResult struct {
	Items []KeyValue
	// Revision is the backend's current revision when it answered.
	Revision int64
	More     bool
}

// Change is one key's change.
type Change struct {
	Key      string
	Value    []byte
	Deleted  bool
	Revision int64
}

// Past is a change with what it replaced; nil: nothing.
type Past struct {
	Change
	Previous *KeyValue
}

// Update is what a watch delivers: the changes of one or more whole revisions,
// or without any changes the news that it is complete up to Revision.
type Update struct {
	Changes  []Change
	Revision int64
	// Err ends the watch; ErrCompacted when the revision asked for is gone.
	Err error
}

// Usage is the backend's size in bytes.
type Usage struct {
	// Size is the database file's, InUse the part of it that holds data.
	Size, InUse int64
	// Quota is where the backend refuses to grow; 0: unknown.
	Quota int64
}
