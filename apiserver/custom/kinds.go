package custom

import (
	"iter"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// Resource is where definitions are found on a View.
var Resource = apiextensionsv1.Resource("customresourcedefinitions")

// kept is how many definitions one generation of the cache holds.
const kept = 1024

// Kinds makes rows of the definitions on a View. It is safe for concurrent use.
type Kinds struct {
	mu         sync.Mutex // guards both
	young, old map[types.UID]*compiled
}

// compiled is what is remembered of a definition.
type compiled struct {
	crd   *apiextensionsv1.CustomResourceDefinition
	shape *shape
	row   *kind.Kind // nil: it is not served
}

// NewKinds makes an empty cache.
func NewKinds() *Kinds { return &Kinds{} }

// definition is the definition of a resource on a View.
func definition(view txn.View, resource runtimeschema.GroupResource) *apiextensionsv1.CustomResourceDefinition {
	if !strings.Contains(resource.Group, ".") {
		return nil // a definition's group always has a dot
	}
	o, ok := view.Get(txn.Ref{Resource: Resource, Name: resource.Resource + "." + resource.Group})
	if !ok {
		return nil
	}
	crd, _ := o.(*apiextensionsv1.CustomResourceDefinition)
	return crd
}

// Row is the row of a resource in a version, or nil when no definition of the
// View serves it. Without a version it is the storage version's, even if that
// is not served.
func (k *Kinds) Row(view txn.View, resource runtimeschema.GroupResource, version string) *kind.Kind {
	crd := definition(view, resource)
	if crd == nil {
		return nil
	}
	stored := k.of(crd)
	if stored == nil || version == "" {
		return stored
	}
	row, ok := stored.In(runtimeschema.GroupVersion{Group: resource.Group, Version: version})
	if !ok || row.Hidden {
		return nil
	}
	return row
}

// ByGVK is the row of a kind in a version, or nil.
func (k *Kinds) ByGVK(view txn.View, gvk runtimeschema.GroupVersionKind) *kind.Kind {
	for stored := range k.All(view) {
		if row, ok := stored.In(gvk.GroupVersion()); ok && !row.Hidden && row.GVK == gvk {
			return row
		}
	}
	return nil
}

// All yields the storage versions' rows of what the View's definitions serve,
// in the order of the definitions' names.
func (k *Kinds) All(view txn.View) iter.Seq[*kind.Kind] {
	return func(yield func(*kind.Kind) bool) {
		for o := range view.Each(Resource, "") {
			crd, ok := o.(*apiextensionsv1.CustomResourceDefinition)
			if !ok {
				continue
			}
			if row := k.of(crd); row != nil && !yield(row) {
				return
			}
		}
	}
}

// RESTMapping finds the resource of a kind that a definition of the View
// defines, in the first of the versions that is served.
func (k *Kinds) RESTMapping(view txn.View, gk runtimeschema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	for stored := range k.All(view) {
		if stored.GVK.GroupKind() != gk {
			continue
		}
		for _, row := range stored.Rows() {
			if len(versions) > 0 && versions[0] != "" && !contains(versions, row.GVK.Version) {
				continue
			}
			scope := meta.RESTScopeRoot
			if row.Namespaced {
				scope = meta.RESTScopeNamespace
			}
			return &meta.RESTMapping{Resource: row.GVR(), GroupVersionKind: row.GVK, Scope: scope}, nil
		}
	}
	return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// of gives a definition's row, making it when the definition is new or has
// changed. Definitions are shared and never change, so that most calls compare
// a pointer.
func (k *Kinds) of(crd *apiextensionsv1.CustomResourceDefinition) *kind.Kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	have := k.young[crd.UID]
	if have == nil {
		have = k.old[crd.UID]
	}
	if have != nil && have.crd == crd {
		return have.row
	}
	next := &compiled{crd: crd}
	if have != nil && have.shape != nil && equality.Semantic.DeepEqual(have.crd.Spec, crd.Spec) {
		next.shape = have.shape
		if have.row != nil && established(crd) && equality.Semantic.DeepEqual(have.crd.Status.AcceptedNames, crd.Status.AcceptedNames) {
			next.row = have.row
		}
	}
	if next.row == nil && established(crd) {
		next.make()
	}
	if k.young == nil || len(k.young) >= kept {
		k.old, k.young = k.young, map[types.UID]*compiled{}
	}
	k.young[crd.UID] = next
	return next.row
}

// make compiles the definition. One that cannot be compiled is not served:
// validation lets none such pass.
func (c *compiled) make() {
	if c.shape == nil {
		s, err := compile(&c.crd.Spec)
		if err != nil {
			return
		}
		c.shape = s
	}
	c.row = c.shape.row(c.crd.Status.AcceptedNames)
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established)
}
