package custom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// Store is what a Follower needs of the store.
type Store interface {
	Snapshot() *store.Snapshot
	Watch(ctx context.Context, options store.WatchOptions) (*store.Watcher, error)
	AddResource(ctx context.Context, r store.Resource) error
	ReplaceResource(ctx context.Context, r store.Resource) error
	RemoveResource(ctx context.Context, resource runtimeschema.GroupResource) error
}

// Follower keeps the store's resources what the stored definitions say. Who
// needs one before the Follower has seen its definition calls Attach.
type Follower struct {
	Kinds *Kinds
	Store Store
	Log   *slog.Logger
	// Terminating is told about every definition that is being deleted, on a
	// goroutine of its own, until ctx ends.
	Terminating func(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition)
	// Attached and Detached, which may be nil, are told when the store begins to
	// serve a resource and when it no longer does. They must not block.
	Attached, Detached func(runtimeschema.GroupResource)

	mu       sync.Mutex // guards attached, and lets one change of the store go at a time
	attached sync.Map   // GroupResource → the row's Shape
}

// Attach makes sure that the store serves a custom resource as its row says.
func (f *Follower) Attach(ctx context.Context, row *kind.Kind) error {
	resource := row.Resource()
	if shape, ok := f.attached.Load(resource); ok && shape == row.Shape {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	shape, ok := f.attached.Load(resource)
	if ok && shape == row.Shape {
		return nil
	}
	change := f.Store.AddResource
	if ok {
		change = f.Store.ReplaceResource
	}
	r := store.Resource{Resource: resource, Prefix: "/registry/" + row.StoragePrefix + "/", Namespaced: row.Namespaced,
		Encode: row.Encode, Decode: row.Decode, Indexes: row.StoredIndexes()}
	if err := change(ctx, r); err != nil {
		return fmt.Errorf("serve %s: %w", resource, err)
	}
	f.attached.Store(resource, row.Shape)
	if !ok && f.Attached != nil {
		f.Attached(resource)
	}
	return nil
}

// detach makes the store forget a resource whose definition is gone.
func (f *Follower) detach(ctx context.Context, resource runtimeschema.GroupResource) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.attached.Load(resource); !ok || definition(f.Store.Snapshot(), resource) != nil {
		return nil
	}
	if err := f.Store.RemoveResource(ctx, resource); err != nil {
		return fmt.Errorf("withdraw %s: %w", resource, err)
	}
	f.attached.Delete(resource)
	if f.Detached != nil {
		f.Detached(resource)
	}
	return nil
}

// Begin attaches what is defined now.
func (f *Follower) Begin(ctx context.Context) error {
	for row := range f.Kinds.All(f.Store.Snapshot()) {
		if err := f.Attach(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// Run follows the definitions until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	var working sync.WaitGroup
	defer working.Wait()
	for ctx.Err() == nil {
		now := f.Store.Snapshot()
		watcher, err := f.Store.Watch(ctx, store.WatchOptions{Resource: Resource, From: now.Revision()})
		if err != nil {
			return ended(ctx, err)
		}
		for o := range now.Each(Resource, "") {
			f.look(ctx, o.(*apiextensionsv1.CustomResourceDefinition), &working)
		}
		err = f.follow(ctx, watcher, &working)
		watcher.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// ended tells a regular end from an error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, store.ErrStopped) {
		return nil
	}
	return fmt.Errorf("follow definitions: %w", err)
}

// follow looks at what a watch delivers; it returns nil when the watch has to
// begin anew.
func (f *Follower) follow(ctx context.Context, watcher *store.Watcher, working *sync.WaitGroup) error {
	for {
		d, err := watcher.Next(ctx)
		if store.IsExpired(err) {
			return nil
		}
		if err != nil {
			return ended(ctx, err)
		}
		for _, e := range d.Events {
			crd := e.Entry.Object.(*apiextensionsv1.CustomResourceDefinition)
			if e.Type != store.Deleted {
				f.look(ctx, crd, working)
				continue
			}
			if err := f.detach(ctx, resourceOf(crd)); err != nil {
				f.Log.Error("custom resource stays", "definition", crd.Name, "err", err)
			}
		}
	}
}

func resourceOf(crd *apiextensionsv1.CustomResourceDefinition) runtimeschema.GroupResource {
	return runtimeschema.GroupResource{Group: crd.Spec.Group, Resource: crd.Spec.Names.Plural}
}

func (f *Follower) look(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, working *sync.WaitGroup) {
	if row := f.Kinds.of(crd); row != nil {
		if err := f.Attach(ctx, row); err != nil {
			f.Log.Error("custom resource is not served", "definition", crd.Name, "err", err)
		}
	}
	if crd.DeletionTimestamp != nil && f.Terminating != nil {
		working.Go(func() { f.Terminating(ctx, crd) })
	}
}
