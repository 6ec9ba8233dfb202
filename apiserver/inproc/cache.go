package inproc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver/kind"
)

// Cache reads what this process has and hands out its events. There is no
// second copy behind it: the store is the cache.
//
//	Cache() ─▶ GetInformer, AddEventHandler … ─▶ Start(ctx) ─▶ events ─▶ ctx ends ─▶ Start returns
//
// Handlers that are added before Start get their first events once it runs.
type Cache struct {
	peer *Peer

	mu        sync.Mutex // guards all below
	informers map[informerKey]*informer
	fields    map[schema.GroupVersionKind]map[string]client.IndexerFunc
	opened    map[schema.GroupVersionKind]bool
	context   context.Context // of Start; nil before it
	running   sync.WaitGroup

	started chan struct{}
}

var _ cache.Cache = (*Cache)(nil)

// informerKey tells informers apart by kind and by the shape of their objects.
type informerKey struct {
	kind  schema.GroupVersionKind
	shape string
}

// Cache makes a cache for the peer. Every call makes another one, with its own
// handlers and field indexes.
func (p *Peer) Cache() *Cache {
	return &Cache{
		peer: p, informers: map[informerKey]*informer{}, fields: map[schema.GroupVersionKind]map[string]client.IndexerFunc{},
		opened: map[schema.GroupVersionKind]bool{}, started: make(chan struct{}),
	}
}

// open authorizes the peer to list and watch all objects of a kind, once.
func (c *Cache) open(k *kind.Kind) error {
	c.mu.Lock()
	opened := c.opened[k.GVK]
	c.mu.Unlock()
	if opened {
		return nil
	}
	view := c.peer.server.Store.Snapshot()
	for _, verb := range []string{"list", "watch"} {
		if err := c.peer.may(view, k, verb, "", ""); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened[k.GVK] = true
	return nil
}

// Get reads from what this process has.
func (c *Cache) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	k, err := c.peer.server.kindOf(o)
	if err != nil {
		return err
	}
	if err := c.open(k); err != nil {
		return err
	}
	return get(c.peer.server.Store.Snapshot(), k, key, o)
}

// List reads from what this process has. Field selectors work on the fields
// and indexes that the kind declares and on those given to IndexField.
func (c *Cache) List(_ context.Context, out client.ObjectList, options ...client.ListOption) error {
	k, err := c.peer.server.kindOf(out)
	if err != nil {
		return err
	}
	if err := c.open(k); err != nil {
		return err
	}
	c.mu.Lock()
	extract := maps.Clone(c.fields[k.GVK])
	c.mu.Unlock()
	_, err = list(c.peer.server.Store.Snapshot(), k, out, listOptions(options), extract, nil)
	return err
}

// IndexField lets List select by a field that is computed by extract. Where
// the kind declares an index of that name, the store's is used.
func (c *Cache) IndexField(_ context.Context, o client.Object, field string, extract client.IndexerFunc) error {
	k, err := c.peer.server.kindOf(o)
	if err != nil {
		return err
	}
	if k.Indexes[field] != nil && k.Shape == nil {
		return nil // a custom resource's goes with its definition
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fields[k.GVK][field] != nil {
		return fmt.Errorf("index %s of %s is there already", field, k.Plural)
	}
	if c.fields[k.GVK] == nil {
		c.fields[k.GVK] = map[string]client.IndexerFunc{}
	}
	c.fields[k.GVK][field] = extract
	return nil
}

// GetInformer opens an informer. The store always has the kind's objects, so
// it does not block.
func (c *Cache) GetInformer(ctx context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	k, err := c.peer.server.kindOf(o)
	if err != nil {
		return nil, err
	}
	return c.informer(ctx, k, o)
}

// GetInformerForKind is GetInformer by kind, with objects of the kind's type.
func (c *Cache) GetInformerForKind(ctx context.Context, gvk schema.GroupVersionKind, _ ...cache.InformerGetOption) (cache.Informer, error) {
	k, err := c.peer.server.kindFor(gvk)
	if err != nil {
		return nil, err
	}
	return c.informer(ctx, k, k.New())
}

func (c *Cache) informer(ctx context.Context, k *kind.Kind, shape runtime.Object) (*informer, error) {
	if err := c.open(k); err != nil {
		return nil, err
	}
	if k.Shape != nil {
		if err := c.peer.server.Custom.Attach(ctx, k.Stored()); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := informerKey{k.GVK, fmt.Sprintf("%T", shape)}
	if c.informers[key] == nil {
		c.informers[key] = &informer{cache: c, kind: k, shape: shape, handlers: map[*registration]struct{}{}}
	}
	return c.informers[key], nil
}

// RemoveInformer ends the handlers of an object's kind and waits for them.
func (c *Cache) RemoveInformer(_ context.Context, o client.Object) error {
	gvk, err := c.peer.server.gvkOf(o) // of a kind that may be gone
	if err != nil {
		return err
	}
	c.mu.Lock()
	key := informerKey{gvk, fmt.Sprintf("%T", o)}
	i := c.informers[key]
	delete(c.informers, key)
	c.mu.Unlock()
	if i != nil {
		i.stop()
	}
	return nil
}

var errStartedTwice = errors.New("the cache has been started already")

// Start runs all handlers until ctx ends, and waits for them.
func (c *Cache) Start(ctx context.Context) error {
	c.mu.Lock()
	if c.context != nil {
		c.mu.Unlock()
		return errStartedTwice
	}
	c.context = ctx
	for _, i := range c.informers {
		i.start(ctx)
	}
	close(c.started)
	c.mu.Unlock()
	<-ctx.Done()
	c.running.Wait()
	return nil
}

// WaitForCacheSync waits until Start runs; false when ctx ends before that.
func (c *Cache) WaitForCacheSync(ctx context.Context) bool {
	select {
	case <-c.started:
		return true
	case <-ctx.Done():
		return false
	}
}
