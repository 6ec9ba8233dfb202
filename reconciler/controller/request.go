package controller

import (
	"context"
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// conflictDelay is long enough for the winner of a race to be seen.
const conflictDelay = 2 * time.Millisecond

// Request names an object.
func Request(o client.Object) reconcile.Request {
	return Named(o.GetNamespace(), o.GetName())
}

// Named names an object by its namespace and name.
func Named(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// Present returns the objects of a change that are there.
func Present[T client.Object](objects ...T) []T {
	var present []T
	for _, o := range objects {
		if v := reflect.ValueOf(o); v.IsValid() && !v.IsNil() { // T may be an interface too
			present = append(present, o)
		}
	}
	return present
}

// Self requests the changed objects themselves.
func Self[T client.Object](c cache.Cache, kind T) source.Source {
	return On(c, kind, func(_ context.Context, before, after T) []reconcile.Request {
		return []reconcile.Request{Request(Present(after, before)[0])}
	})
}

// Owner requests the controlling owner of the changed objects, before and
// after the change, when it is of the given kind ("ReplicaSet").
func Owner[T client.Object](c cache.Cache, object T, kind string) source.Source {
	return On(c, object, func(_ context.Context, before, after T) []reconcile.Request {
		var requests []reconcile.Request
		for _, o := range Present(before, after) {
			owner := metav1.GetControllerOf(o)
			if owner == nil || owner.Kind != kind {
				continue
			}
			r := Named(o.GetNamespace(), owner.Name)
			if len(requests) == 0 || requests[0] != r {
				requests = append(requests, r)
			}
		}
		return requests
	})
}
