package controller

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NewObject makes an empty object of a kind: typed when the client's scheme
// knows it, else unstructured.
func NewObject(c client.Client, kind schema.GroupVersionKind) client.Object {
	if o, err := c.Scheme().New(kind); err == nil {
		if object, ok := o.(client.Object); ok {
			return object
		}
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u
}

// Objects lists the objects of a kind in a namespace.
func Objects(ctx context.Context, c client.Client, kind schema.GroupVersionKind, namespace string) ([]client.Object, error) {
	listKind := kind.GroupVersion().WithKind(kind.Kind + "List")
	var list client.ObjectList
	if o, err := c.Scheme().New(listKind); err == nil {
		list, _ = o.(client.ObjectList)
	}
	if list == nil {
		u := &unstructured.UnstructuredList{}
		u.SetGroupVersionKind(listKind)
		list = u
	}
	if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	objects := make([]client.Object, 0, len(items))
	for _, item := range items {
		if o, ok := item.(client.Object); ok {
			objects = append(objects, o)
		}
	}
	return objects, nil
}
