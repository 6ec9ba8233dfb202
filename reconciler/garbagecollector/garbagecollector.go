// Package garbagecollector deletes objects whose owners are gone and carries
// out the three ways to delete an owner:
//
//	background   the owner goes at once, its dependents when they are found without it
//	foreground   the owner waits (finalizer) until the dependents that block it are gone
//	orphan       the owner waits (finalizer) until the dependents have forgotten it
//
// The graph of owners is fed by the cache; before anything is deleted, object
// and owners are read anew: absence from the graph alone deletes nothing.
package garbagecollector

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "generic-garbage-collector"

// Reconciler looks at one object at a time.
type Reconciler struct {
	controller.Deps
	graph *graph
}

// New returns the controller over the given kinds, and over those that
// CustomResourceDefinitions define, as they come and go.
func New(deps controller.Deps, kinds []schema.GroupVersionKind) (controller.Runnable, error) {
	r := NewReconciler(deps)
	var sources []source.TypedSource[Item]
	for _, kind := range kinds {
		sources = append(sources, r.source(kind, controller.On))
	}
	c, err := controller.New(Name, deps, 10, r, sources...)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(kinds, definitionKind) {
		return c, nil
	}
	return follow(r, c)
}

// on makes a source, as controller.On and OnNow do.
type on func(c cache.Cache, kind client.Object, requests func(ctx context.Context, before, after client.Object) []Item) source.TypedSource[Item]

// source tells about the objects of a kind.
func (r *Reconciler) source(kind schema.GroupVersionKind, on on) source.TypedSource[Item] {
	return on(r.Cache, controller.NewObject(r.Client, kind), func(_ context.Context, before, after client.Object) []Item {
		if after == nil {
			return r.Forget(before.GetUID())
		}
		return r.Learn(kind, after)
	})
}

// NewReconciler returns a collector that knows of no object yet.
func NewReconciler(deps controller.Deps) *Reconciler {
	return &Reconciler{Deps: deps, graph: newGraph()}
}

// Learn takes over an object as the cache shows it, and returns what to look at.
func (r *Reconciler) Learn(kind schema.GroupVersionKind, o client.Object) []Item {
	return r.graph.set(Item{kind, o.GetNamespace(), o.GetName(), o.GetUID()}, o)
}

// Forget drops an object that has gone, and returns what to look at.
func (r *Reconciler) Forget(uid types.UID) []Item { return r.graph.remove(uid) }

// Reconcile decides about one object.
func (r *Reconciler) Reconcile(ctx context.Context, item Item) (reconcile.Result, error) {
	o, err := r.read(ctx, item.Kind, item.Namespace, item.Name)
	if err != nil || o == nil || o.GetUID() != item.UID {
		return reconcile.Result{}, err
	}
	if o.GetDeletionTimestamp() != nil {
		switch {
		case has(o, metav1.FinalizerOrphanDependents):
			err = r.orphan(ctx, item, o)
		case has(o, metav1.FinalizerDeleteDependents):
			err = r.foreground(ctx, item, o)
		}
		return reconcile.Result{}, err
	}
	if len(o.GetOwnerReferences()) == 0 {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, r.judge(ctx, item, o)
}

// judge deletes an object without a living owner.
func (r *Reconciler) judge(ctx context.Context, item Item, o client.Object) error {
	var living, absent, waiting int
	keep := []metav1.OwnerReference{}
	for _, ref := range o.GetOwnerReferences() {
		owner, err := r.owner(ctx, ref, item.Namespace)
		switch {
		case err != nil:
			return fmt.Errorf("read owner %s %q of %s %q: %w", ref.Kind, ref.Name, item.Kind.Kind, item.Name, err)
		case owner == nil:
			absent++
		case owner.GetDeletionTimestamp() != nil && has(owner, metav1.FinalizerDeleteDependents):
			waiting++
		default:
			living++
			keep = append(keep, ref)
		}
	}
	switch {
	case absent+waiting == 0:
		return nil
	case living > 0:
		base := o.DeepCopyObject().(client.Object)
		o.SetOwnerReferences(keep)
		return r.patch(ctx, o, base)
	case waiting > 0 && len(r.graph.of(item.UID)) > 0:
		if r.graph.waited(item.UID) {
			if done, err := r.unblock(ctx, o); done || err != nil {
				return err // the change leads here again
			}
		}
		return r.delete(ctx, o, metav1.DeletePropagationForeground)
	case has(o, metav1.FinalizerOrphanDependents):
		return r.delete(ctx, o, metav1.DeletePropagationOrphan)
	case has(o, metav1.FinalizerDeleteDependents):
		return r.delete(ctx, o, metav1.DeletePropagationForeground)
	}
	return r.delete(ctx, o, metav1.DeletePropagationBackground)
}

// unblock lets an object's owners go before it. Something that depends on the
// object waits for its dependents already: it may be the owner of the owner,
// and in such a circle each would wait for the next for ever.
func (r *Reconciler) unblock(ctx context.Context, o client.Object) (done bool, err error) {
	base := o.DeepCopyObject().(client.Object)
	refs := slices.Clone(o.GetOwnerReferences())
	for i := range refs {
		if block := refs[i].BlockOwnerDeletion; block != nil && *block {
			refs[i].BlockOwnerDeletion, done = new(bool), true
		}
	}
	if !done {
		return false, nil
	}
	o.SetOwnerReferences(refs)
	return true, r.patch(ctx, o, base)
}

// owner reads the owner that a reference means; nil when that one is gone.
func (r *Reconciler) owner(ctx context.Context, ref metav1.OwnerReference, namespace string) (client.Object, error) {
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	if namespaced, err := r.Client.IsObjectNamespaced(controller.NewObject(r.Client, kind)); err == nil && !namespaced {
		namespace = ""
	} else if err != nil && !meta.IsNoMatchError(err) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("unknown kind: %w", err)
	}
	o, err := r.read(ctx, kind, namespace, ref.Name)
	if err != nil || o == nil || o.GetUID() != ref.UID {
		return nil, err
	}
	return o, nil
}

func (r *Reconciler) read(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (client.Object, error) {
	o := controller.NewObject(r.Client, kind)
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return o, err
}

// foreground deletes what blocks the owner, and lets it go when nothing does.
func (r *Reconciler) foreground(ctx context.Context, item Item, o client.Object) error {
	blocked := false
	for _, dependent := range r.graph.of(item.UID) {
		d, err := r.read(ctx, dependent.Kind, dependent.Namespace, dependent.Name)
		if err != nil {
			return err
		}
		if d == nil || d.GetUID() != dependent.UID {
			continue
		}
		ref := slices.IndexFunc(d.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == item.UID })
		if ref < 0 {
			continue
		}
		if block := d.GetOwnerReferences()[ref].BlockOwnerDeletion; block != nil && *block {
			blocked = true
		}
		if d.GetDeletionTimestamp() == nil {
			if err := r.judge(ctx, dependent, d); err != nil {
				return err
			}
		}
	}
	if blocked {
		// A dependent that went at once tells so by its event, which looks here again.
		return nil
	}
	return r.finish(ctx, o, metav1.FinalizerDeleteDependents)
}

// orphan makes the dependents forget the owner, and lets it go.
func (r *Reconciler) orphan(ctx context.Context, item Item, o client.Object) error {
	for _, dependent := range r.graph.of(item.UID) {
		d, err := r.read(ctx, dependent.Kind, dependent.Namespace, dependent.Name)
		if err != nil {
			return err
		}
		if d == nil || d.GetUID() != dependent.UID {
			continue
		}
		base := d.DeepCopyObject().(client.Object)
		d.SetOwnerReferences(slices.DeleteFunc(d.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == item.UID }))
		if err := r.patch(ctx, d, base); err != nil {
			return err
		}
	}
	return r.finish(ctx, o, metav1.FinalizerOrphanDependents)
}

func (r *Reconciler) finish(ctx context.Context, o client.Object, finalizer string) error {
	base := o.DeepCopyObject().(client.Object)
	o.SetFinalizers(slices.DeleteFunc(o.GetFinalizers(), func(f string) bool { return f == finalizer }))
	return r.patch(ctx, o, base)
}

func (r *Reconciler) patch(ctx context.Context, o, base client.Object) error {
	err := r.Client.Patch(ctx, o, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch %T %q: %w", o, o.GetName(), err)
	}
	return nil
}

func (r *Reconciler) delete(ctx context.Context, o client.Object, how metav1.DeletionPropagation) error {
	uid, version := o.GetUID(), o.GetResourceVersion()
	err := r.Client.Delete(ctx, o, client.PropagationPolicy(how), client.Preconditions{UID: &uid, ResourceVersion: &version})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %T %q: %w", o, o.GetName(), err)
	}
	return nil
}
