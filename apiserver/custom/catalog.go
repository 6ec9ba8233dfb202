package custom

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// Catalog is all that is served: the table, and what is defined on a View.
type Catalog struct {
	Table *kinds.Table
	Kinds *Kinds
	// Follower brings resources into the store; nil where there is none, as
	// for plans on a View that nobody writes.
	Follower *Follower
}

// ByGVR finds the row that serves a resource in a version.
func (c *Catalog) ByGVR(view txn.View, resource runtimeschema.GroupVersionResource) (*kind.Kind, bool) {
	if k, ok := c.Table.ByGVR(resource); ok {
		return k, true
	}
	k := c.Kinds.Row(view, resource.GroupResource(), resource.Version)
	return k, k != nil
}

// ByGVK finds the row that serves a kind in a version.
func (c *Catalog) ByGVK(view txn.View, gvk runtimeschema.GroupVersionKind) (*kind.Kind, bool) {
	if k, ok := c.Table.ByGVK(gvk); ok {
		return k, true
	}
	k := c.Kinds.ByGVK(view, gvk)
	return k, k != nil
}

// RESTMapping finds the resource of a kind.
func (c *Catalog) RESTMapping(view txn.View, gk runtimeschema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if m, err := c.Table.RESTMapping(gk, versions...); err == nil {
		return m, nil
	}
	return c.Kinds.RESTMapping(view, gk, versions...)
}

// Row implements write.Custom.
func (c *Catalog) Row(view txn.View, resource runtimeschema.GroupResource, version string) *kind.Kind {
	return c.Kinds.Row(view, resource, version)
}

// Attach implements write.Custom and rest.Kinds.
func (c *Catalog) Attach(ctx context.Context, row *kind.Kind) error {
	if c.Follower == nil {
		return nil
	}
	return c.Follower.Attach(ctx, row)
}
