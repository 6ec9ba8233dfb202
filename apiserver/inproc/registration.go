package inproc

import (
	"context"
	"time"

	toolscache "k8s.io/client-go/tools/cache"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

// retryAfter is how long a handler waits before it begins anew when its watch
// could not go on.
const retryAfter = time.Second

// registration is one handler and its cursor.
type registration struct {
	informer *informer
	handler  toolscache.ResourceEventHandler
	synced   chan struct{} // closed when the present objects were delivered
	cancel   context.CancelFunc
	done     chan struct{} // nil before start
}

var _ toolscache.ResourceEventHandlerRegistration = (*registration)(nil)

// HasSynced tells whether the handler has seen the objects that were there
// when it was started.
func (r *registration) HasSynced() bool {
	select {
	case <-r.synced:
		return true
	default:
		return false
	}
}

// HasSyncedChecker is HasSynced as a channel.
func (r *registration) HasSyncedChecker() toolscache.DoneChecker {
	return checker{"handler of " + r.informer.kind.Plural, r.synced}
}

func (r *registration) start(ctx context.Context) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.done = make(chan struct{})
	r.informer.cache.running.Go(func() {
		defer close(r.done)
		r.run(ctx)
	})
}

func (r *registration) cancelled() {
	if r.cancel != nil {
		r.cancel()
	}
}

// run delivers until ctx ends. A handler that fell out of the store's log is
// told the difference between what it knew and what is there now.
func (r *registration) run(ctx context.Context) {
	server := r.informer.cache.peer.server
	var known *store.Snapshot
	for ctx.Err() == nil {
		now := server.Store.Snapshot()
		cursor, err := server.Store.Watch(ctx, store.WatchOptions{Resource: r.informer.kind.Resource(), From: now.Revision()})
		if err != nil {
			server.Log.Error("informer cannot watch", "resource", r.informer.kind.Resource(), "err", err)
			wait(ctx, retryAfter)
			continue
		}
		r.difference(known, now)
		if known == nil {
			close(r.synced)
		}
		known = r.follow(ctx, cursor, now)
		cursor.Close()
	}
}

// follow delivers events until the watch ends, and gives a snapshot of which
// the handler has seen everything.
func (r *registration) follow(ctx context.Context, cursor *store.Watcher, known *store.Snapshot) *store.Snapshot {
	server := r.informer.cache.peer.server
	for {
		delivery, err := cursor.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				server.Log.Warn("informer begins anew", "resource", r.informer.kind.Resource(), "err", err)
				if !store.IsExpired(err) {
					wait(ctx, retryAfter)
				}
			}
			return known
		}
		for _, e := range delivery.Events {
			if ctx.Err() != nil {
				return known
			}
			r.deliver(e)
		}
		if now := server.Store.Snapshot(); cursor.Revision() == now.Revision() {
			known = now
		}
	}
}

func (r *registration) deliver(e *store.Event) {
	switch e.Type {
	case store.Added:
		r.handler.OnAdd(r.shaped(e.Entry.Object), false)
	case store.Modified:
		r.handler.OnUpdate(r.shaped(e.Before.Object), r.shaped(e.Entry.Object))
	case store.Deleted:
		r.handler.OnDelete(r.shaped(e.Entry.Object))
	}
}

// difference delivers what has changed between two snapshots; everything when
// there is no first one.
func (r *registration) difference(known, now *store.Snapshot) {
	resource := r.informer.kind.Resource()
	for e := range now.Entries(resource, "") {
		if known == nil {
			r.handler.OnAdd(r.shaped(e.Object), true)
			continue
		}
		switch before := known.Entry(e.Ref); {
		case before == nil:
			r.handler.OnAdd(r.shaped(e.Object), false)
		case before.Revision != e.Revision:
			r.handler.OnUpdate(r.shaped(before.Object), r.shaped(e.Object))
		}
	}
	if known == nil {
		return
	}
	for e := range known.Entries(resource, "") {
		if now.Entry(e.Ref) == nil {
			r.handler.OnDelete(r.shaped(e.Object))
		}
	}
}

// shaped gives the object in the shape that the informer was asked for.
func (r *registration) shaped(shared txn.Object) any {
	o, err := like(r.informer.kind, shared, r.informer.shape)
	if err != nil {
		r.informer.cache.peer.server.Log.Error("informer cannot convert", "object", shared.GetName(), "err", err)
		return shared
	}
	return o
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
