package store

import (
	"errors"
	"fmt"
)

var (
	// ErrCompacted says that the backend has forgotten a revision.
	ErrCompacted = errors.New("the revision has been compacted")
	// ErrStorageFull says that the backend's quota is used up.
	ErrStorageFull = errors.New("the storage quota is used up")
	// ErrStopped says that the store does not run any more.
	ErrStopped = errors.New("the store has stopped")
)

// ExpiredError says that a revision is too old to be read or watched from. A
// client lists again and goes on from there (HTTP 410).
type ExpiredError struct {
	// Revision is the one asked for, Oldest the first that would do; 0 when
	// that is not known.
	Revision, Oldest int64
}

func (e *ExpiredError) Error() string {
	if e.Oldest == 0 {
		return fmt.Sprintf("too old resource version: %d", e.Revision)
	}
	return fmt.Sprintf("too old resource version: %d (%d)", e.Revision, e.Oldest)
}

// IsExpired tells whether err says that a revision is too old.
func IsExpired(err error) bool {
	var e *ExpiredError
	return errors.As(err, &e)
}

// LimitError says that a transaction is larger than the backend takes at once.
// Nothing was written; the caller stages its changes within the limits.
type LimitError struct {
	// Operations is how many writes one transaction may have; 0: that was not
	// the limit.
	Operations int
	// Bytes says that the request was too large.
	Bytes bool
}

func (e *LimitError) Error() string {
	if e.Bytes {
		return "the transaction has more bytes than the storage takes at once"
	}
	return fmt.Sprintf("the storage takes at most %d operations in a transaction", e.Operations)
}

// IsLimit tells whether err says that a transaction is too large, and how many
// operations may be in one (0 when its bytes are too many).
func IsLimit(err error) (operations int, ok bool) {
	var e *LimitError
	if errors.As(err, &e) {
		return e.Operations, true
	}
	return 0, false
}
