package write

import (
	"context"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

// OnStore is the Store that a write path has in the product.
func OnStore(s *store.Store) Store { return onStore{s} }

type onStore struct{ store *store.Store }

var _ Store = onStore{}

func (o onStore) Latest() txn.View { return o.store.Snapshot() }

func (o onStore) View(ctx context.Context) (txn.View, error) {
	s, err := o.store.Current(ctx)
	if err != nil {
		return nil, err // not the typed nil
	}
	return s, nil
}

func (o onStore) Owns(view txn.View) bool {
	_, ok := view.(*store.Snapshot)
	return ok
}

func (o onStore) Txn(ctx context.Context, t store.Txn) (*store.Done, error) {
	return o.store.Txn(ctx, t)
}

func (o onStore) Notes(ctx context.Context, prefix string) ([]txn.Note, error) {
	return o.store.Notes(ctx, prefix)
}

func (o onStore) Acquire(ctx context.Context, name string) (txn.Epoch, error) {
	return o.store.Acquire(ctx, name)
}
