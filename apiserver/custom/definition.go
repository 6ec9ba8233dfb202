package custom

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// shape is what a definition's spec is compiled to. Definitions with equal
// specs share one: their objects are read alike.
type shape struct {
	spec     *apiextensionsv1.CustomResourceDefinitionSpec
	versions map[string]*version
	convert  func() (*converter, error)
}

// version is one version of a shape.
type version struct {
	gvk    runtimeschema.GroupVersionKind
	api    *apiextensionsv1.CustomResourceDefinitionVersion
	schema *schema
}

func compile(spec *apiextensionsv1.CustomResourceDefinitionSpec) (*shape, error) {
	s := &shape{spec: spec, versions: map[string]*version{}}
	for i := range spec.Versions {
		v := &spec.Versions[i]
		var props *apiextensionsv1.JSONSchemaProps
		if v.Schema != nil {
			props = v.Schema.OpenAPIV3Schema
		}
		compiled, err := newSchema(props, spec.PreserveUnknownFields)
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", v.Name, err)
		}
		gvk := runtimeschema.GroupVersionKind{Group: spec.Group, Version: v.Name, Kind: spec.Names.Kind}
		s.versions[v.Name] = &version{gvk: gvk, api: v, schema: compiled}
	}
	s.convert = s.newConverter()
	return s, nil
}

// row makes the rows of a definition: the storage version's with the others
// below it. Nil when none is the storage version.
func (s *shape) row(names apiextensionsv1.CustomResourceDefinitionNames) *kind.Kind {
	var stored *kind.Kind
	for i := range s.spec.Versions {
		if v := &s.spec.Versions[i]; v.Storage {
			stored = s.rowOf(s.versions[v.Name], names)
		}
	}
	if stored == nil {
		return nil
	}
	for i := range s.spec.Versions {
		if v := &s.spec.Versions[i]; !v.Storage {
			at := s.versions[v.Name]
			same := equality.Semantic.DeepEqual(v.Schema, s.versions[stored.GVK.Version].api.Schema)
			stored.Add(s.rowOf(at, names), at.from(same), toVersion(stored.GVK))
		}
	}
	return stored
}

func (s *shape) rowOf(v *version, names apiextensionsv1.CustomResourceDefinitionNames) *kind.Kind {
	k := &kind.Kind{
		GVK: v.gvk, Shape: s, Hidden: !v.api.Served, ListKind: names.ListKind,
		Plural: s.spec.Names.Plural, Singular: names.Singular, ShortNames: names.ShortNames, Categories: names.Categories,
		Namespaced: s.spec.Scope == apiextensionsv1.NamespaceScoped, StoragePrefix: s.spec.Group + "/" + s.spec.Names.Plural,
		New: func() txn.Object {
			u := &unstructured.Unstructured{Object: map[string]any{}}
			u.SetGroupVersionKind(v.gvk)
			return u
		},
		NewList: func() runtime.Object {
			l := &unstructured.UnstructuredList{Object: map[string]any{}}
			l.SetGroupVersionKind(v.gvk.GroupVersion().WithKind(names.ListKind))
			return l
		},
		Accept:  func(o txn.Object) ([]string, error) { return v.schema.accept(o.(*unstructured.Unstructured)) },
		Default: func(o txn.Object) { v.schema.settle(o.(*unstructured.Unstructured)) },
		Prepare: v.prepare, Validate: v.validate, Warnings: warnings,
		Fields: fields(v.api.SelectableFields), Subresources: map[string]kind.Subresource{},
		Fielding: s.fielding, Described: v.described,
	}
	k.Indexes = indexes(k.Fields)
	k.Columns, k.Row = columns(v.api.AdditionalPrinterColumns)
	if v.api.Subresources != nil && v.api.Subresources.Status != nil {
		k.Subresources["status"] = kind.Subresource{Verbs: []string{"get", "patch", "update"}, Prepare: prepareStatus, Validate: v.validateStatus, Resets: []string{"metadata"}}
	}
	if at := scaleOf(v.api); at != nil {
		k.Subresources["scale"] = scale{at}.subresource()
	}
	if v.api.Deprecated {
		k.Deprecated = fmt.Sprintf("%s %s is deprecated", v.gvk.GroupVersion(), v.gvk.Kind)
		if v.api.DeprecationWarning != nil {
			k.Deprecated = *v.api.DeprecationWarning
		}
	}
	return k
}

// from converts from the storage version: the version's schema may know less.
func (v *version) from(same bool) func(txn.Object) (txn.Object, error) {
	if same {
		return toVersion(v.gvk)
	}
	return func(o txn.Object) (txn.Object, error) {
		u := o.(*unstructured.Unstructured).DeepCopy()
		u.SetGroupVersionKind(v.gvk)
		v.schema.prune(u)
		return u, nil
	}
}

// toVersion is the conversion "None": only the version's name changes.
func toVersion(gvk runtimeschema.GroupVersionKind) func(txn.Object) (txn.Object, error) {
	return func(o txn.Object) (txn.Object, error) {
		from, ok := o.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("a %T is no custom resource", o)
		}
		u := &unstructured.Unstructured{Object: make(map[string]any, len(from.Object))}
		for key, value := range from.Object {
			u.Object[key] = value
		}
		u.SetGroupVersionKind(gvk)
		return u, nil
	}
}
