// Package memkv is a key-value store in memory that behaves like etcd where the
// API server's store can tell: one revision per transaction, history until it
// is compacted, watches that deliver whole revisions. Tests can hold back and
// break its watches.
package memkv

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sort"
	"sync"

	"github.com/headway-sh/headway/apiserver/store"
)

// errDropped is what a broken watch ends with.
var errDropped = errors.New("memkv: the watch was dropped")

// version is a key's state from a revision on.
type version struct {
	revision int64
	value    []byte
	deleted  bool
}

// Server is the emulator. The zero value is not usable; New makes one.
type Server struct {
	mu        sync.Mutex // guards everything below
	revision  int64
	compacted int64
	keys      []string // sorted
	history   map[string][]version
	log       []store.Change // every change since compacted
	changed   chan struct{}  // closed at every change of anything above or below
	held      bool           // watches deliver nothing
	dropped   int            // counts how often watches were broken
	progress  int            // counts requests for progress
	limit     int
	usage     store.Usage
	fail      error
}

var _ store.Backend = (*Server)(nil)

// New returns an empty server at revision 1, as a new etcd is.
func New() *Server {
	return &Server{revision: 1, history: map[string][]version{}, changed: make(chan struct{})}
}

// locked runs f and wakes the watches.
func (s *Server) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// HoldWatches keeps watches from delivering anything until release is called.
func (s *Server) HoldWatches() (release func()) {
	s.locked(func() { s.held = true })
	return sync.OnceFunc(func() { s.locked(func() { s.held = false }) })
}

// DropWatches ends all watches with an error.
func (s *Server) DropWatches() { s.locked(func() { s.dropped++ }) }

// SetOperationLimit makes larger transactions fail; 0: no limit.
func (s *Server) SetOperationLimit(n int) { s.locked(func() { s.limit = n }) }

// SetUsage is what Usage answers.
func (s *Server) SetUsage(u store.Usage) { s.locked(func() { s.usage = u }) }

// SetFailure makes transactions and reads fail with err until it is nil again.
func (s *Server) SetFailure(err error) { s.locked(func() { s.fail = err }) }

// Compacted is the revision that history was compacted to.
func (s *Server) Compacted() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compacted
}

// at is the key's version at a revision; false when there is none.
func (s *Server) at(key string, revision int64) (version, bool) {
	h := s.history[key]
	i := sort.Search(len(h), func(i int) bool { return h[i].revision > revision })
	if i == 0 || h[i-1].deleted {
		return version{}, false
	}
	return h[i-1], true
}

func (s *Server) holds(c *store.Check) bool {
	v, ok := s.at(c.Key, s.revision)
	if c.Value != nil {
		return ok && bytes.Equal(v.value, c.Value)
	}
	return v.revision == c.Revision
}

// Txn implements store.Backend.
func (s *Server) Txn(ctx context.Context, r store.Request) (store.Response, error) {
	if err := ctx.Err(); err != nil {
		return store.Response{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return store.Response{}, s.fail
	}
	if s.limit > 0 && max(len(r.Ops), len(r.Checks)) > s.limit {
		return store.Response{}, &store.LimitError{Operations: s.limit}
	}
	for i := range r.Checks {
		if !s.holds(&r.Checks[i]) {
			return store.Response{Revision: s.revision}, nil
		}
	}
	answer := store.Response{Held: true, Done: make([]bool, len(r.Ops))}
	next := s.revision + 1
	wrote := false
	for i, o := range r.Ops {
		if answer.Done[i] = o.If == nil || s.holds(o.If); answer.Done[i] {
			wrote = s.set(o, next) || wrote
		}
	}
	if wrote {
		s.revision = next
		close(s.changed)
		s.changed = make(chan struct{})
	}
	answer.Revision = s.revision
	return answer, nil
}

// set does one operation and tells whether it changed anything.
func (s *Server) set(o store.Op, revision int64) bool {
	if _, exists := s.at(o.Key, revision); o.Delete && !exists {
		return false
	}
	if i, known := slices.BinarySearch(s.keys, o.Key); !known {
		s.keys = slices.Insert(s.keys, i, o.Key)
	}
	v := version{revision: revision, value: bytes.Clone(o.Value), deleted: o.Delete}
	s.history[o.Key] = append(s.history[o.Key], v)
	s.log = append(s.log, store.Change{Key: o.Key, Value: v.value, Deleted: o.Delete, Revision: revision})
	return true
}

// Range implements store.Backend.
func (s *Server) Range(ctx context.Context, start, end string, revision int64, limit int) (store.RangeResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return store.RangeResult{}, s.fail
	}
	if revision == 0 {
		revision = s.revision
	}
	if revision < s.compacted {
		return store.RangeResult{}, store.ErrCompacted
	}
	result := store.RangeResult{Revision: s.revision}
	from, _ := slices.BinarySearch(s.keys, start)
	for _, key := range s.keys[from:] {
		if key >= end {
			break
		}
		v, ok := s.at(key, revision)
		if !ok {
			continue
		}
		if limit > 0 && len(result.Items) == limit {
			result.More = true
			break
		}
		result.Items = append(result.Items, store.KeyValue{Key: key, Value: bytes.Clone(v.value), Revision: v.revision})
	}
	return result, ctx.Err()
}

// Revision implements store.Backend.
func (s *Server) Revision(ctx context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	return s.revision, ctx.Err()
}

// Compact implements store.Backend. Like etcd it keeps, of every key, the
// version that was the newest at the revision.
func (s *Server) Compact(ctx context.Context, revision int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision <= s.compacted {
		return store.ErrCompacted
	}
	s.compacted = revision
	for key, h := range s.history {
		i := sort.Search(len(h), func(i int) bool { return h[i].revision > revision })
		if i > 0 {
			s.history[key] = h[i-1:]
		}
	}
	i := sort.Search(len(s.log), func(i int) bool { return s.log[i].Revision >= revision })
	s.log = slices.Clone(s.log[i:])
	return ctx.Err()
}

// Usage implements store.Backend.
func (s *Server) Usage(ctx context.Context) (store.Usage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage, ctx.Err()
}

// Defragment implements store.Backend.
func (s *Server) Defragment(ctx context.Context) error {
	s.locked(func() { s.usage.Size = s.usage.InUse })
	return ctx.Err()
}

// Progress implements store.Backend.
func (s *Server) Progress(ctx context.Context) error {
	s.locked(func() { s.progress++ })
	return ctx.Err()
}
