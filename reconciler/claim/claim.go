// Package claim settles which dependents are an owner's: it adopts matching
// orphans and releases what no longer matches.
package claim

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/ownership"
)

// Shared is for callers that change nothing of what they read: it is not copied.
// What claims itself writes is changed all the same, and is then a copy.
const Shared = client.UnsafeDisableDeepCopy

// Owned reads into list the objects of its kind that the owner controls, and
// gives them. It costs as much as there are of them.
func Owned[T client.Object](ctx context.Context, c client.Reader, owner client.Object, list client.ObjectList, options ...client.ListOption) ([]T, error) {
	return read[T](ctx, c, list, append(options, client.InNamespace(owner.GetNamespace()), client.MatchingFields{ownership.Controller: string(owner.GetUID())})...)
}

// Objects returns the objects of list's kind that the owner controls
// afterwards. An owner that is being deleted adopts and releases nothing.
// adoptable (nil: all) says which orphans are worth having. Writes are compared
// with the version read, so that two owners never both get an orphan.
func Objects[T client.Object](ctx context.Context, c client.Client, owner client.Object, kind schema.GroupVersionKind, selector labels.Selector, list client.ObjectList, adoptable func(T) bool, options ...client.ListOption) ([]T, error) {
	// Orphans first: one that somebody else adopts meanwhile is a conflict, and
	// one that is released meanwhile is told of by an event.
	orphans, err := read[T](ctx, c, list.DeepCopyObject().(client.ObjectList), client.InNamespace(owner.GetNamespace()),
		client.MatchingFields{ownership.Orphan: owner.GetNamespace()}, client.MatchingLabelsSelector{Selector: selector})
	if err != nil {
		return nil, err
	}
	owned, err := Owned[T](ctx, c, owner, list, options...)
	if err != nil {
		return nil, err
	}
	var mine []T
	going := owner.GetDeletionTimestamp() != nil
	for _, o := range owned {
		if going || selector.Matches(labels.Set(o.GetLabels())) {
			mine = append(mine, o)
		} else if err := release(ctx, c, owner, o); err != nil {
			return nil, err
		}
	}
	for _, o := range orphans {
		if going || o.GetDeletionTimestamp() != nil || adoptable != nil && !adoptable(o) {
			continue
		}
		if err := adopt(ctx, c, owner, kind, o); err != nil {
			return nil, err
		}
		mine = append(mine, o)
	}
	return mine, nil
}

func read[T client.Object](ctx context.Context, c client.Reader, list client.ObjectList, options ...client.ListOption) ([]T, error) {
	if err := c.List(ctx, list, options...); err != nil {
		return nil, fmt.Errorf("list dependents: %w", err)
	}
	var objects []T
	err := meta.EachListItem(list, func(o runtime.Object) error {
		objects = append(objects, o.(T))
		return nil
	})
	return objects, err
}

func adopt(ctx context.Context, c client.Client, owner client.Object, kind schema.GroupVersionKind, o client.Object) error {
	base := o.DeepCopyObject().(client.Object)
	o.SetOwnerReferences(append(o.GetOwnerReferences(), *metav1.NewControllerRef(owner, kind)))
	if err := patch(ctx, c, o, base); err != nil {
		return fmt.Errorf("adopt %q: %w", o.GetName(), err)
	}
	return nil
}

func release(ctx context.Context, c client.Client, owner, o client.Object) error {
	base := o
	o = o.DeepCopyObject().(client.Object)
	o.SetOwnerReferences(slices.DeleteFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == owner.GetUID() }))
	if err := patch(ctx, c, o, base); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release %q: %w", o.GetName(), err)
	}
	return nil
}

func patch(ctx context.Context, c client.Client, o, base client.Object) error {
	return c.Patch(ctx, o, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
}
