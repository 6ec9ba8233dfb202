package fakecluster

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Cache is a cache.Cache over the watches of an emulated API. Informers start
// with the first GetInformer and end with the context of NewCache; Wait then
// waits for them.
type Cache struct {
	client.Reader
	ctx    context.Context // the life of informers that are made on demand
	client client.WithWatch

	mu        sync.Mutex // guards informers
	informers map[schema.GroupVersionKind]toolscache.SharedIndexInformer
	running   sync.WaitGroup
}

var _ cache.Cache = (*Cache)(nil)

// NewCache returns a cache that follows the cluster until ctx ends.
func (c *Cluster) NewCache(ctx context.Context) *Cache {
	return &Cache{Reader: c, ctx: ctx, client: c.WithWatch, informers: map[schema.GroupVersionKind]toolscache.SharedIndexInformer{}}
}

// Wait waits until all informers have ended.
func (c *Cache) Wait() { c.running.Wait() }

// GetInformer finds or starts the informer of the object's kind and waits
// until it is in sync.
func (c *Cache) GetInformer(ctx context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	gvk, err := apiutil.GVKForObject(o, c.client.Scheme())
	if err != nil {
		return nil, err
	}
	return c.GetInformerForKind(ctx, gvk)
}

// GetInformerForKind is GetInformer by kind.
func (c *Cache) GetInformerForKind(ctx context.Context, gvk schema.GroupVersionKind, _ ...cache.InformerGetOption) (cache.Informer, error) {
	c.mu.Lock()
	informer, ok := c.informers[gvk]
	if !ok {
		var err error
		if informer, err = c.start(gvk); err != nil {
			c.mu.Unlock()
			return nil, err
		}
		c.informers[gvk] = informer
	}
	c.mu.Unlock()
	if !toolscache.WaitFor(ctx, "", informer.HasSyncedChecker()) {
		return nil, fmt.Errorf("sync %s: %w", gvk, ctx.Err())
	}
	return informer, nil
}

func (c *Cache) start(gvk schema.GroupVersionKind) (toolscache.SharedIndexInformer, error) {
	example, err := c.client.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	list := func() (client.ObjectList, error) {
		l, err := c.client.Scheme().New(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err != nil {
			return nil, err
		}
		return l.(client.ObjectList), nil
	}
	// The emulated watch cannot resume at a revision, so it begins before the
	// list: what is written between them is seen twice, not never.
	var pending watch.Interface
	informer := toolscache.NewSharedIndexInformer(plainLists{&toolscache.ListWatch{
		ListFunc: func(metav1.ListOptions) (runtime.Object, error) {
			l, err := list()
			if err != nil {
				return nil, err
			}
			if pending, err = c.client.Watch(c.ctx, l); err != nil {
				return nil, err
			}
			return l, c.client.List(c.ctx, l)
		},
		WatchFunc: func(metav1.ListOptions) (watch.Interface, error) {
			return pending, nil
		},
	}}, example, 0, toolscache.Indexers{})
	c.running.Go(func() { informer.RunWithContext(c.ctx) })
	return informer, nil
}

// RemoveInformer does nothing: informers live as long as the cache.
func (c *Cache) RemoveInformer(context.Context, client.Object) error { return nil }

// Start blocks until ctx ends; informers run by themselves.
func (c *Cache) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// WaitForCacheSync is true at once: GetInformer has waited.
func (c *Cache) WaitForCacheSync(context.Context) bool { return true }

// IndexField is refused: the emulator has no further indexes.
func (c *Cache) IndexField(context.Context, client.Object, string, client.IndexerFunc) error {
	return fmt.Errorf("the emulated cache has no field indexes")
}

// plainLists tells the reflector that the emulated watch cannot stream lists.
type plainLists struct{ *toolscache.ListWatch }

// IsWatchListSemanticsUnSupported is asked by the reflector.
func (plainLists) IsWatchListSemanticsUnSupported() bool { return true }
