package garbagecollector

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

var definitionKind = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition")

// defined follows the kinds that definitions define: a controller of its own
// that gives the collector sources and takes them away. The collector's own
// handlers could not: it takes no source before all that it starts with have
// told everything.
type defined struct {
	*Reconciler
	collector controller.Watching[Item]
	watched   map[string]schema.GroupVersionKind // the one worker's own
}

// following is the collector together with what follows the definitions.
type following struct{ collector, definitions controller.Runnable }

// Start runs both until ctx ends or one of them fails.
func (f following) Start(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.collector.Start(ctx) })
	group.Go(func() error { return f.definitions.Start(ctx) })
	return group.Wait()
}

func follow(r *Reconciler, collector controller.Watching[Item]) (controller.Runnable, error) {
	d := &defined{Reconciler: r, collector: collector, watched: map[string]schema.GroupVersionKind{}}
	definitions, err := controller.New(Name+"-definitions", r.Deps, 1, d,
		controller.On(r.Cache, &apiextensionsv1.CustomResourceDefinition{}, func(_ context.Context, before, after *apiextensionsv1.CustomResourceDefinition) []reconcile.Request {
			return []reconcile.Request{controller.Named("", controller.Present(after, before)[0].Name)}
		}))
	if err != nil {
		return nil, err
	}
	return following{collector, definitions}, nil
}

// Reconcile watches the objects of a definition as long as it is established,
// in a version that is served.
func (d *defined) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	err := d.Client.Get(ctx, request.NamespacedName, definition)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("read definition %q: %w", request.Name, err)
	}
	if apierrors.IsNotFound(err) {
		definition = nil
	}
	kind, served := servedKind(definition)
	watched, has := d.watched[request.Name]
	if has == served && watched == kind {
		return reconcile.Result{}, nil
	}
	if has {
		if err := d.Cache.RemoveInformer(ctx, controller.NewObject(d.Client, watched)); err != nil {
			return reconcile.Result{}, fmt.Errorf("let the objects of %s go: %w", watched, err)
		}
		delete(d.watched, request.Name)
	}
	if served {
		if err := d.collector.Watch(d.source(kind, controller.OnNow)); err != nil {
			return reconcile.Result{}, fmt.Errorf("watch the objects of %s: %w", kind, err)
		}
		d.watched[request.Name] = kind
	}
	return reconcile.Result{}, nil
}

// servedKind is the kind of a definition in the storage version, or else in
// the first one that is served.
func servedKind(d *apiextensionsv1.CustomResourceDefinition) (kind schema.GroupVersionKind, served bool) {
	if d == nil || !established(d) {
		return kind, false
	}
	for _, v := range d.Spec.Versions {
		if v.Served && (!served || v.Storage) {
			kind, served = schema.GroupVersionKind{Group: d.Spec.Group, Version: v.Name, Kind: d.Spec.Names.Kind}, true
		}
	}
	return kind, served
}

func established(d *apiextensionsv1.CustomResourceDefinition) bool {
	for _, c := range d.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}
