// Package ephemeralvolume makes the claims of generic ephemeral volumes: one for
// each such volume of a pod, owned by the pod, so that it goes with it.
package ephemeralvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "ephemeral-volume-controller"

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 2, &Reconciler{deps},
		controller.On(deps.Cache, &corev1.Pod{}, func(_ context.Context, _, after *corev1.Pod) []reconcile.Request {
			if after == nil || !wants(after) {
				return nil
			}
			return []reconcile.Request{controller.Request(after)}
		}),
		controller.On(deps.Cache, &corev1.PersistentVolumeClaim{}, func(_ context.Context, before, after *corev1.PersistentVolumeClaim) []reconcile.Request {
			if after != nil {
				return nil
			}
			if owner := metav1.GetControllerOf(before); owner != nil && owner.Kind == "Pod" {
				return []reconcile.Request{controller.Named(before.Namespace, owner.Name)}
			}
			return nil
		}))
}

func wants(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Ephemeral != nil {
			return true
		}
	}
	return false
}

// Reconciler looks after one pod at a time.
type Reconciler struct{ controller.Deps }

// Reconcile makes the claims that are missing.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	pod := &corev1.Pod{}
	if err := r.Client.Get(ctx, req.NamespacedName, pod); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !wants(pod) {
		return reconcile.Result{}, nil
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Ephemeral != nil {
			if err := r.ensure(ctx, pod, v); err != nil {
				r.Events.Eventf(pod, corev1.EventTypeWarning, "FailedBinding", "ephemeral volume %s: %v", v.Name, err)
				return reconcile.Result{}, err
			}
		}
	}
	return reconcile.Result{}, nil
}

func (r *Reconciler) ensure(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	have := &corev1.PersistentVolumeClaim{}
	key := client.ObjectKey{Namespace: pod.Namespace, Name: pod.Name + "-" + v.Name}
	err := r.Client.Get(ctx, key, have)
	switch {
	case err == nil && !metav1.IsControlledBy(have, pod):
		return fmt.Errorf("PVC %q was not created for pod %q (pod is not owner)", key.String(), pod.Name)
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("get claim: %w", err)
	}
	t := v.Ephemeral.VolumeClaimTemplate
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID,
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true)}},
		},
		Spec: t.Spec,
	}
	if err := r.Client.Create(ctx, claim); err != nil {
		return fmt.Errorf("make claim: %w", err)
	}
	return nil
}
