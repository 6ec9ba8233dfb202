package garbagecollector

import (
	"context"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/reconciler/controller"
)

var definitionKind = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition")

// defined follows the kinds that definitions define.
type defined struct {
	*Reconciler
	controller controller.Watching[Item]

	mu      sync.Mutex // guards watched
	watched map[string]schema.GroupVersionKind
}

// changed watches the objects of a definition as long as it is established, in
// a version that is served.
func (d *defined) changed(ctx context.Context, before, after *apiextensionsv1.CustomResourceDefinition) []Item {
	d.mu.Lock()
	defer d.mu.Unlock()
	definition := controller.Present(after, before)[0]
	kind, served := servedKind(after)
	watched, has := d.watched[definition.Name]
	if has == served && watched == kind {
		return nil
	}
	if has {
		delete(d.watched, definition.Name)
		if err := d.Cache.RemoveInformer(ctx, controller.NewObject(d.Client, watched)); err != nil {
			d.Logger.Error("garbage collector cannot let a kind go", "kind", watched, "err", err)
		}
	}
	if served {
		if err := d.controller.Watch(d.source(kind)); err != nil {
			d.Logger.Error("garbage collector cannot watch a kind", "kind", kind, "err", err)
			return nil
		}
		d.watched[definition.Name] = kind
	}
	return nil
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
