package volumebinder

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Volumes reconciles one volume at a time.
type Volumes struct{ controller.Deps }

// Reconcile gives a volume its phase, and frees or reclaims one whose claim has
// gone.
func (r *Volumes) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	v := &corev1.PersistentVolume{}
	if err := r.Client.Get(ctx, req.NamespacedName, v); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	ref := v.Spec.ClaimRef
	if ref == nil || ref.UID == "" { // free, or reserved for a claim to come
		return reconcile.Result{}, setPhase(ctx, r.Client, v, corev1.VolumeAvailable, "")
	}
	claim := &corev1.PersistentVolumeClaim{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, claim)
	switch {
	case apierrors.IsNotFound(err), err == nil && claim.UID != ref.UID:
		return reconcile.Result{}, r.release(ctx, v)
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("get claim %s/%s: %w", ref.Namespace, ref.Name, err)
	case claim.Spec.VolumeName == v.Name:
		return reconcile.Result{}, setPhase(ctx, r.Client, v, corev1.VolumeBound, "")
	case claim.Spec.VolumeName == "":
		return reconcile.Result{}, nil // the claim's controller goes on
	}
	return reconcile.Result{}, r.unbind(ctx, v)
}

// unbind frees a volume whose claim has taken another one. One that was made
// for the claim is of no use to others.
func (r *Volumes) unbind(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.Annotations[volumehelpers.AnnDynamicallyProvisioned] != "" && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		return r.release(ctx, v)
	}
	v = v.DeepCopy()
	if v.Annotations[volumehelpers.AnnBoundByController] != "" {
		v.Spec.ClaimRef = nil
		delete(v.Annotations, volumehelpers.AnnBoundByController)
	} else {
		v.Spec.ClaimRef.UID = "" // somebody has reserved it for a claim of this name
	}
	if err := r.Client.Update(ctx, v); err != nil {
		return fmt.Errorf("free volume %q: %w", v.Name, err)
	}
	return setPhase(ctx, r.Client, v, corev1.VolumeAvailable, "")
}

// release says that a volume's claim has gone, and does what its policy says.
// A provisioner deletes what it has made itself.
func (r *Volumes) release(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.Status.Phase == corev1.VolumeFailed {
		return nil
	}
	if err := setPhase(ctx, r.Client, v, corev1.VolumeReleased, v.Status.Message); err != nil {
		return err
	}
	switch v.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimRetain:
		return nil
	case corev1.PersistentVolumeReclaimDelete:
		if v.Annotations[volumehelpers.AnnDynamicallyProvisioned] != "" || v.Spec.CSI != nil || v.DeletionTimestamp != nil {
			return nil
		}
		return r.fail(ctx, v, "VolumeFailedDelete", fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", v.Name))
	}
	return r.fail(ctx, v, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
}

func (r *Volumes) fail(ctx context.Context, v *corev1.PersistentVolume, reason, message string) error {
	// Read again: the phase was just written.
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(v), v); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.Events.Event(v, corev1.EventTypeWarning, reason, message)
	return setPhase(ctx, r.Client, v, corev1.VolumeFailed, message)
}
