package kinds

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
)

// RESTMapping finds the resource of a kind, in the first of the versions that is
// served. Without versions it is the storage version, or the only one that the
// group has.
func (t *Table) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	for _, v := range versions {
		if k, ok := t.byGVK[gk.WithVersion(v)]; ok {
			return mapping(k), nil
		}
	}
	if len(versions) == 0 || len(versions) == 1 && versions[0] == "" {
		for _, k := range t.kinds {
			for _, row := range k.Rows() {
				if row.GVK.GroupKind() == gk {
					return mapping(row), nil
				}
			}
		}
	}
	return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
}

func mapping(k *kind.Kind) *meta.RESTMapping {
	scope := meta.RESTScopeRoot
	if k.Namespaced {
		scope = meta.RESTScopeNamespace
	}
	return &meta.RESTMapping{Resource: k.GVR(), GroupVersionKind: k.GVK, Scope: scope}
}
