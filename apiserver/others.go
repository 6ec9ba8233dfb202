package apiserver

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

// watchOthers tells the write path's observers, such as the source that looks
// for drift, what goes through other servers. Who wrote is not known here; the
// object's managed fields tell by which means.
func (s *Server) watchOthers(ctx context.Context) error {
	s.path.Shared()
	for _, k := range s.table.All() {
		if Internal(k) {
			continue
		}
		watcher, err := s.store.Watch(ctx, store.WatchOptions{Resource: k.Resource()})
		if err != nil {
			return err
		}
		s.serving.Go(func() error { return s.tellOthers(ctx, k.Resource(), watcher) })
	}
	return nil
}

// watchCustom gives what is to be told about custom resources that come and go,
// so that those of others are told too.
func (s *Server) watchCustom(ctx context.Context) (attached, detached func(schema.GroupResource)) {
	var mu sync.Mutex // guards stops
	stops := map[schema.GroupResource]context.CancelFunc{}
	attached = func(resource schema.GroupResource) {
		mu.Lock()
		defer mu.Unlock()
		watching, stop := context.WithCancel(ctx)
		stops[resource] = stop
		s.serving.Go(func() error {
			defer stop()
			watcher, err := s.store.Watch(watching, store.WatchOptions{Resource: resource})
			if err == nil {
				s.path.Missed() // what came before the watch
				err = s.tellOthers(watching, resource, watcher)
			}
			if err != nil && watching.Err() == nil {
				s.config.Logger.Warn("what other servers write is not seen", "resource", resource, "err", err)
			}
			return nil
		})
	}
	detached = func(resource schema.GroupResource) {
		mu.Lock()
		defer mu.Unlock()
		if stop := stops[resource]; stop != nil {
			stop()
			delete(stops, resource)
		}
	}
	return attached, detached
}

func (s *Server) tellOthers(ctx context.Context, resource schema.GroupResource, watcher *store.Watcher) error {
	defer func() { watcher.Close() }()
	for {
		d, err := watcher.Next(ctx)
		var expired *store.ExpiredError
		switch {
		case errors.As(err, &expired):
			again, err := s.store.Watch(ctx, store.WatchOptions{Resource: resource})
			if err != nil {
				return err
			}
			watcher.Close()
			watcher = again
			s.path.Missed()
			continue
		case ctx.Err() != nil || errors.Is(err, store.ErrStopped):
			return nil
		case err != nil:
			return err
		}
		for _, e := range d.Events {
			w := foreignWrite(e)
			w.Time = s.config.Clock.Now()
			s.path.Foreign(w)
		}
	}
}

func foreignWrite(e *store.Event) txn.Write {
	w := txn.Write{Ref: e.Entry.Ref, Revision: e.Revision()}
	if e.Before != nil {
		w.Before = e.Before.Object
	}
	if e.Type != store.Deleted {
		w.After = e.Entry.Object
		w.FieldManager = lastManager(e.Entry.Object)
	}
	return w
}

// lastManager is the field manager that wrote last, as far as managed fields
// tell.
func lastManager(o txn.Object) string {
	name, last := "", time.Time{}
	for _, m := range o.GetManagedFields() {
		if m.Time != nil && !m.Time.Time.Before(last) {
			name, last = m.Manager, m.Time.Time
		}
	}
	return name
}
