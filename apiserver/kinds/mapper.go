package kinds

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// RESTMapping finds the resource of a kind. Of the versions the table has one;
// another one, when asked for, is no match.
func (t *Table) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	for _, k := range t.kinds {
		if k.GVK.GroupKind() != gk {
			continue
		}
		for _, v := range versions {
			if v != "" && v != k.GVK.Version {
				return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
			}
		}
		scope := meta.RESTScopeRoot
		if k.Namespaced {
			scope = meta.RESTScopeNamespace
		}
		return &meta.RESTMapping{Resource: k.GVR(), GroupVersionKind: k.GVK, Scope: scope}, nil
	}
	return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
}
