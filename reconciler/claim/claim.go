// Package claim settles which dependents are an owner's: it adopts matching
// orphans and releases what no longer matches.
package claim

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Objects returns those of all that the owner controls afterwards. An owner
// that is being deleted adopts and releases nothing. adoptable (nil: all) says
// which orphans are worth having. Writes are compared with the version read, so
// that two owners never both get an orphan.
func Objects[T client.Object](ctx context.Context, c client.Client, owner client.Object, kind schema.GroupVersionKind, selector labels.Selector, all []T, adoptable func(T) bool) ([]T, error) {
	var mine []T
	going := owner.GetDeletionTimestamp() != nil
	for _, o := range all {
		controller := metav1.GetControllerOf(o)
		matches := selector.Matches(labels.Set(o.GetLabels()))
		switch {
		case controller != nil && controller.UID != owner.GetUID():
		case controller != nil && (matches || going):
			mine = append(mine, o)
		case controller != nil:
			if err := release(ctx, c, owner, o); err != nil {
				return nil, err
			}
		case matches && !going && o.GetDeletionTimestamp() == nil && (adoptable == nil || adoptable(o)):
			if err := adopt(ctx, c, owner, kind, o); err != nil {
				return nil, err
			}
			mine = append(mine, o)
		}
	}
	return mine, nil
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
	base := o.DeepCopyObject().(client.Object)
	o.SetOwnerReferences(slices.DeleteFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == owner.GetUID() }))
	if err := patch(ctx, c, o, base); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release %q: %w", o.GetName(), err)
	}
	return nil
}

func patch(ctx context.Context, c client.Client, o, base client.Object) error {
	return c.Patch(ctx, o, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
}
