package follow

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kind is a kind of object that pods refer to.
type Kind string

const (
	// ConfigMap and Secret are the kinds an agent may follow one by one.
	ConfigMap Kind = "ConfigMap"
	Secret    Kind = "Secret"
)

// Ref names an object that a pod refers to.
type Ref struct {
	Kind Kind
	types.NamespacedName
}

// Objects follows single ConfigMaps and Secrets while somebody wants them.
// Safe for concurrent use.
type Objects struct {
	client client.WithWatch
	logger *slog.Logger

	changes chan []types.UID

	mu      sync.Mutex // guards entries, and run until it is set
	entries map[Ref]*entry
	run     context.Context //nolint:containedctx // the life of Run, under which watches start
	group   sync.WaitGroup
}

type entry struct {
	owners map[types.UID]bool
	object client.Object // nil while it does not exist
	known  bool
	stop   context.CancelFunc
}

// NewObjects makes a follower; nothing is watched before Run.
func NewObjects(c client.WithWatch, logger *slog.Logger) *Objects {
	return &Objects{client: c, logger: logger, entries: map[Ref]*entry{}, changes: make(chan []types.UID, 256)}
}

// Run watches what is wanted until ctx ends and calls changed with the owners
// of each object that has changed.
func (o *Objects) Run(ctx context.Context, changed func(owners []types.UID)) error {
	o.mu.Lock()
	o.run = ctx
	for ref, e := range o.entries {
		o.watch(ref, e)
	}
	o.mu.Unlock()
	for {
		select {
		case owners := <-o.changes:
			changed(owners)
		case <-ctx.Done():
			o.group.Wait()
			return nil
		}
	}
}

// Get gives the object and keeps following it for owner. An object that does
// not exist is the API's NotFound error.
func (o *Objects) Get(ctx context.Context, ref Ref, owner types.UID) (client.Object, error) {
	if object := o.cached(ref, owner); object != nil {
		return object, nil
	}
	object, _, err := empty(ref.Kind)
	if err != nil {
		return nil, err
	}
	if err := o.client.Get(ctx, ref.NamespacedName, object); err != nil {
		return nil, fmt.Errorf("get %s %q: %w", ref.Kind, ref.NamespacedName, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.entries[ref]; e != nil && !e.known {
		e.object, e.known = object, true
	}
	return object, nil
}

func (o *Objects) cached(ref Ref, owner types.UID) client.Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.entries[ref]
	if e == nil {
		e = &entry{owners: map[types.UID]bool{}}
		o.entries[ref] = e
		o.watch(ref, e)
	}
	e.owners[owner] = true
	return e.object
}

// Release ends owner's interest in everything.
func (o *Objects) Release(owner types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for ref, e := range o.entries {
		delete(e.owners, owner)
		if len(e.owners) == 0 {
			if e.stop != nil {
				e.stop()
			}
			delete(o.entries, ref)
		}
	}
}

// watch starts an entry's reflector; mu is held.
func (o *Objects) watch(ref Ref, e *entry) {
	if o.run == nil || o.run.Err() != nil || e.stop != nil {
		return
	}
	object, list, err := empty(ref.Kind)
	if err != nil {
		return // refused in Get
	}
	ctx, stop := context.WithCancel(o.run)
	e.stop = stop
	set := func(object client.Object) { o.set(ctx, e, object) }
	handler := Handler[client.Object]{
		Replace: func(objects []client.Object) {
			for _, object := range objects {
				if object.GetName() == ref.Name {
					set(object)
					return
				}
			}
			set(nil)
		},
		Set: func(object client.Object) {
			if object.GetName() == ref.Name {
				set(object)
			}
		},
		Delete: func(object client.Object) {
			if object.GetName() == ref.Name {
				set(nil)
			}
		},
	}
	o.group.Go(func() {
		List(ctx, o.client, o.logger, object, list, handler,
			client.InNamespace(ref.Namespace), client.MatchingFields{"metadata.name": ref.Name})
	})
}

func (o *Objects) set(ctx context.Context, e *entry, object client.Object) {
	o.mu.Lock()
	same := e.known && version(e.object) == version(object)
	e.object, e.known = object, true
	owners := make([]types.UID, 0, len(e.owners))
	for uid := range e.owners {
		owners = append(owners, uid)
	}
	o.mu.Unlock()
	if same {
		return
	}
	select {
	case o.changes <- owners:
	case <-ctx.Done():
	}
}

func version(o client.Object) string {
	if o == nil {
		return ""
	}
	return string(o.GetUID()) + "/" + o.GetResourceVersion()
}

func empty(kind Kind) (client.Object, func() client.ObjectList, error) {
	switch kind {
	case ConfigMap:
		return &corev1.ConfigMap{}, func() client.ObjectList { return &corev1.ConfigMapList{} }, nil
	case Secret:
		return &corev1.Secret{}, func() client.ObjectList { return &corev1.SecretList{} }, nil
	}
	return nil, nil, fmt.Errorf("kind %q is not followed", kind)
}
