package store

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Value is what the backend has of one object, as it is stored.
type Value struct {
	Ref      txn.Ref
	Revision int64
	Stored   []byte
}

// Values calls f with everything that the backend has of a resource now, in
// the order of keys, until f returns an error. It is for those who care how
// values are stored; everybody else reads a Snapshot.
func (s *Store) Values(ctx context.Context, resource schema.GroupResource, f func(Value) error) error {
	c := s.Snapshot().catalog
	n, ok := c.numbers[resource]
	if !ok {
		return fmt.Errorf("%s: the store does not have the resource", resource)
	}
	r := c.resources[n]
	var failed error
	err := s.pages(ctx, r.Prefix, prefixEnd(r.Prefix), 0, func(_ int64, items []KeyValue) {
		for _, kv := range items {
			ref, ok := r.ref(kv.Key)
			if !ok || failed != nil {
				continue
			}
			failed = f(Value{Ref: ref, Revision: kv.Revision, Stored: kv.Value})
		}
	})
	if err == nil {
		err = failed
	}
	return err
}

// Resources are the resources that the store has now.
func (s *Store) Resources() []schema.GroupResource {
	var all []schema.GroupResource
	for _, r := range s.Snapshot().catalog.resources {
		if r != nil {
			all = append(all, r.Resource)
		}
	}
	return all
}

// Settle returns when every transaction that was encoded before the call is
// done with: whatever it wrote is in what Values reads afterwards.
func (s *Store) Settle(ctx context.Context) error {
	s.writing.Lock()
	s.writing.Unlock()
	_, err := s.backend.Revision(ctx) // behind what timed out on its way
	return err
}

// Forget makes the backend forget all history before the newest published
// state, so that no former value is left in it. Reads of former revisions and
// watches that resume there expire.
func (s *Store) Forget(ctx context.Context) error {
	if err := s.backend.Compact(ctx, s.Snapshot().revision); err != nil && !errors.Is(err, ErrCompacted) {
		return fmt.Errorf("forget history: %w", err)
	}
	return nil
}
