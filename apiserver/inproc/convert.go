package inproc

import (
	"encoding/json"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// into fills out with a copy of a shared object. out may be the kind's own
// type, unstructured, or metadata only.
func into(k *kind.Kind, shared, out txn.Object) error {
	converted, err := like(k, shared, out)
	if err != nil {
		return err
	}
	if converted == shared || k != k.Stored() {
		converted = converted.DeepCopyObject().(txn.Object)
	}
	to, from := reflect.ValueOf(out), reflect.ValueOf(converted)
	if to.Type() != from.Type() {
		return fmt.Errorf("cannot put a %T into a %T", shared, out)
	}
	to.Elem().Set(from.Elem())
	out.GetObjectKind().SetGroupVersionKind(k.GVK)
	return nil
}

// made is a row for what only a subresource shows.
func made(gvk schema.GroupVersionKind) *kind.Kind { return &kind.Kind{GVK: gvk} }

// like gives the shared object in a version and in the shape of another: itself
// when it is like that already, else a new object that may share parts with it.
func like(k *kind.Kind, shared txn.Object, shape runtime.Object) (txn.Object, error) {
	gvk := k.GVK
	switch shape.(type) {
	case *metav1.PartialObjectMetadata, *metav1.PartialObjectMetadataList:
		if _, ok := shared.(*metav1.PartialObjectMetadata); ok {
			return shared, nil
		}
		m := metaOnly(shared)
		m.SetGroupVersionKind(gvk)
		return m, nil
	}
	shared, err := k.FromStored(shared)
	if err != nil {
		return nil, err
	}
	switch shape.(type) {
	case *unstructured.Unstructured, *unstructured.UnstructuredList:
		if _, ok := shared.(*unstructured.Unstructured); ok {
			return shared, nil
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(shared)
		if err != nil {
			return nil, fmt.Errorf("convert %s %q: %w", gvk.Kind, shared.GetName(), err)
		}
		u := &unstructured.Unstructured{Object: content}
		u.SetGroupVersionKind(gvk)
		return u, nil
	}
	return shared, nil
}

func metaOnly(o txn.Object) *metav1.PartialObjectMetadata {
	m := meta.AsPartialObjectMetadata(o)
	return m.DeepCopy()
}

// unstructuredOf reads an apply configuration or any other value that encodes
// to an object's JSON.
func unstructuredOf(v any) (*unstructured.Unstructured, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode what is applied: %w", err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(b); err != nil {
		return nil, fmt.Errorf("decode what is applied: %w", err)
	}
	return u, nil
}

// fill sets a list's items to copies of shared objects, and its revision.
func fill(list runtime.Object, k *kind.Kind, items []txn.Object, revision string, copied bool) error {
	out := make([]runtime.Object, len(items))
	for i, shared := range items {
		o, err := like(k, shared, list)
		if err != nil {
			return err
		}
		if copied && (o == shared || k != k.Stored()) {
			o = o.DeepCopyObject().(txn.Object)
		}
		out[i] = o
	}
	if err := meta.SetList(list, out); err != nil {
		return fmt.Errorf("fill list of %s: %w", k.GVK.Kind, err)
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	accessor.SetResourceVersion(revision)
	return nil
}
