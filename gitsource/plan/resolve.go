package plan

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/render"
)

// resolver maps kinds to resources: by the API server's mapper, and by the
// definitions of custom resources in the same set.
type resolver struct {
	in      *Input
	tenancy *Tenancy
	known   map[schema.GroupVersionKind]mapping
	defined map[schema.GroupVersionKind]mapping
}

type mapping struct {
	resource   schema.GroupResource
	namespaced bool
	err        error
}

func newResolver(in *Input, tenancy *Tenancy) *resolver {
	r := &resolver{in: in, tenancy: tenancy, known: map[schema.GroupVersionKind]mapping{}, defined: map[schema.GroupVersionKind]mapping{}}
	for _, o := range in.Set.Objects {
		if o.Body.GetKind() == "CustomResourceDefinition" {
			r.define(o.Body.Object)
		}
	}
	return r
}

func (r *resolver) define(crd map[string]any) {
	group, _, _ := unstructured.NestedString(crd, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd, "spec", "names", "kind")
	plural, _, _ := unstructured.NestedString(crd, "spec", "names", "plural")
	scope, _, _ := unstructured.NestedString(crd, "spec", "scope")
	versions, _, _ := unstructured.NestedSlice(crd, "spec", "versions")
	for _, v := range versions {
		if version, ok := v.(map[string]any); ok && version["served"] == true {
			name, _ := version["name"].(string)
			r.defined[schema.GroupVersionKind{Group: group, Version: name, Kind: kind}] = mapping{
				resource: schema.GroupResource{Group: group, Resource: plural}, namespaced: scope == "Namespaced",
			}
		}
	}
}

func (r *resolver) resolve(o *render.Object) (wanted, error) {
	gvk := o.Body.GroupVersionKind()
	m, ok := r.known[gvk]
	if !ok {
		m = r.find(gvk)
		r.known[gvk] = m
	}
	w := wanted{object: o}
	if m.err != nil {
		return w, m.err
	}
	w.ref, w.namespaced = txn.Ref{Resource: m.resource, Name: o.Body.GetName()}, m.namespaced
	tenant, err := r.tenancy.whose(o)
	if err != nil {
		return w, err
	}
	if m.namespaced {
		if w.ref.Namespace = o.Body.GetNamespace(); w.ref.Namespace == "" {
			w.ref.Namespace = r.tenancy.Namespace(tenant)
		}
	}
	w.entry = Entry{
		Group: m.resource.Group, Resource: m.resource.Resource, APIVersion: o.Body.GetAPIVersion(), Kind: gvk.Kind,
		Namespace: w.ref.Namespace, Name: w.ref.Name, Digest: o.Digest, Origin: o.Origin(), Through: o.Through(), Tenant: tenant,
	}
	return w, nil
}

func (r *resolver) find(gvk schema.GroupVersionKind) mapping {
	found, err := r.in.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err == nil {
		return mapping{resource: found.Resource.GroupResource(), namespaced: found.Scope.Name() == meta.RESTScopeNameNamespace}
	}
	if m, ok := r.defined[gvk]; ok {
		return m
	}
	var unknown *meta.NoKindMatchError
	if errors.As(err, &unknown) {
		err = fmt.Errorf("there is no kind %s in %s: the API server does not know it, and the commit has no CustomResourceDefinition for it", gvk.Kind, gvk.GroupVersion())
	}
	return mapping{err: err}
}
