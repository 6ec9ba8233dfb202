package store

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// AddResource makes the store serve one more resource, with what the backend
// has of it. It returns when snapshots have the resource. Run must be running.
func (s *Store) AddResource(ctx context.Context, r Resource) error {
	return s.recatalog(ctx, func(running context.Context) error {
		l := &s.loop
		if err := validate(l.catalog, &r); err != nil {
			return err
		}
		next, n := l.catalog.with(&r)
		t, err := s.readTable(running, next, n)
		if err != nil {
			return fmt.Errorf("add resource %s: %w", r.Resource, err)
		}
		l.catalog, l.tables, l.dirty = next, append(l.tables, t), append(l.dirty, true)
		s.mu.Lock()
		s.feeds = append(s.feeds, newFeedSet(&r, s.config.LogEvents, l.revision))
		s.mu.Unlock()
		return nil
	})
}

// ReplaceResource makes the store read a resource anew, by another decoder or
// with other indexes. Its watchers are told that they have expired: what they
// have seen may look different now.
func (s *Store) ReplaceResource(ctx context.Context, r Resource) error {
	return s.recatalog(ctx, func(running context.Context) error {
		l := &s.loop
		n, ok := l.catalog.numbers[r.Resource]
		if !ok {
			return fmt.Errorf("replace resource %s: the store does not have it", r.Resource)
		}
		next := l.catalog.replaced(n, &r)
		t, err := s.readTable(running, next, n)
		if err != nil {
			return fmt.Errorf("replace resource %s: %w", r.Resource, err)
		}
		l.catalog, l.tables[n], l.dirty[n] = next, t, true
		s.mu.Lock()
		s.feeds[n].reset(l.revision)
		s.feeds[n].resource = &r
		s.mu.Unlock()
		return nil
	})
}

// readTable reads what the backend has of a catalog's resource at the loop's
// revision.
func (s *Store) readTable(ctx context.Context, c *catalog, n int) (*table, error) {
	r := c.resources[n]
	t := newTable(r, s.loop.revision)
	err := s.pages(ctx, r.Prefix, prefixEnd(r.Prefix), s.loop.revision, func(_ int64, items []KeyValue) {
		changes := make([]Change, len(items))
		for i, kv := range items {
			changes[i] = Change{Key: kv.Key, Value: kv.Value, Revision: kv.Revision}
		}
		for _, d := range decodeAll(c, changes) {
			if d.number == n {
				s.store(t, d)
			}
		}
	})
	return t, err
}

// RemoveResource makes the store forget a resource. Its keys stay, its watchers
// are told that they have expired.
func (s *Store) RemoveResource(ctx context.Context, resource schema.GroupResource) error {
	return s.recatalog(ctx, func(context.Context) error {
		l := &s.loop
		n, ok := l.catalog.numbers[resource]
		if !ok {
			return fmt.Errorf("remove resource %s: the store does not have it", resource)
		}
		l.catalog = l.catalog.without(n)
		l.tables[n] = nil
		s.mu.Lock()
		s.feeds[n].reset(l.revision)
		s.mu.Unlock()
		return nil
	})
}

// recatalog has the apply loop change the catalog, and returns when snapshots
// show it. While a batch waits for a later revision its marker brings it.
func (s *Store) recatalog(ctx context.Context, change func(running context.Context) error) error {
	var shown int64
	err := s.command(ctx, func(running context.Context) error {
		if err := change(running); err != nil {
			return err
		}
		if shown = s.loop.revision; s.loop.batch {
			shown++
		} else {
			s.publish()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.WaitFor(ctx, shown)
}
