package volumebinder

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controllers', and their service account's in kube-system.
const Name = "persistent-volume-binder"

// NewClaims returns the controller of claims.
func NewClaims(deps controller.Deps) (controller.Runnable, error) {
	r := &Claims{deps}
	return controller.New(Name+"-claims", deps, 2, r,
		controller.Self(deps.Cache, &corev1.PersistentVolumeClaim{}),
		controller.On(deps.Cache, &corev1.PersistentVolume{}, r.concerned),
		controller.On(deps.Cache, &storagev1.StorageClass{}, func(ctx context.Context, _, after *storagev1.StorageClass) []reconcile.Request {
			if after == nil {
				return nil
			}
			return r.pending(ctx, func(claim *corev1.PersistentVolumeClaim) bool {
				return claim.Spec.StorageClassName == nil || volumehelpers.GetPersistentVolumeClaimClass(claim) == after.Name
			})
		}))
}

// concerned are the claim of a changed volume, and those that may take it when
// it is free.
func (r *Claims) concerned(ctx context.Context, before, after *corev1.PersistentVolume) []reconcile.Request {
	var requests []reconcile.Request
	for _, v := range controller.Present(before, after) {
		if ref := v.Spec.ClaimRef; ref != nil {
			requests = append(requests, controller.Named(ref.Namespace, ref.Name))
		}
	}
	if after == nil || after.Spec.ClaimRef != nil || after.Status.Phase != corev1.VolumeAvailable {
		return requests
	}
	return append(requests, r.pending(ctx, func(claim *corev1.PersistentVolumeClaim) bool {
		return claim.Spec.VolumeName == after.Name || claim.Spec.VolumeName == "" && Mismatch(after, claim) == ""
	})...)
}

// pending are the claims without a volume of which f is true.
func (r *Claims) pending(ctx context.Context, f func(*corev1.PersistentVolumeClaim) bool) []reconcile.Request {
	var claims corev1.PersistentVolumeClaimList
	if err := r.Client.List(ctx, &claims, client.UnsafeDisableDeepCopy); err != nil {
		r.Logger.Error("list claims", "err", err)
		return nil
	}
	var requests []reconcile.Request
	for i := range claims.Items {
		if c := &claims.Items[i]; c.Status.Phase != corev1.ClaimBound && f(c) {
			requests = append(requests, controller.Request(c))
		}
	}
	return requests
}

// NewVolumes returns the controller of volumes.
func NewVolumes(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name+"-volumes", deps, 2, &Volumes{deps},
		controller.Self(deps.Cache, &corev1.PersistentVolume{}),
		controller.On(deps.Cache, &corev1.PersistentVolumeClaim{}, func(_ context.Context, before, after *corev1.PersistentVolumeClaim) []reconcile.Request {
			var requests []reconcile.Request
			for _, c := range controller.Present(before, after) {
				if c.Spec.VolumeName != "" {
					requests = append(requests, controller.Named("", c.Spec.VolumeName))
				}
			}
			return requests
		}))
}

// bind makes a claim and a volume name each other and say so. Each step is
// done only where it is missing, so that it can be repeated after any of them.
func bind(ctx context.Context, c client.Client, v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	v, changed, err := volumehelpers.GetBindVolumeToClaim(v, claim)
	if err != nil {
		return fmt.Errorf("bind volume to claim %q: %w", claim.Name, err)
	}
	if changed {
		if err := c.Update(ctx, v); err != nil {
			return fmt.Errorf("bind volume %q: %w", v.Name, err)
		}
	}
	if err := setPhase(ctx, c, v, corev1.VolumeBound, ""); err != nil {
		return err
	}
	if claim.Spec.VolumeName == "" || claim.Annotations[volumehelpers.AnnBindCompleted] == "" {
		claim = claim.DeepCopy()
		if claim.Spec.VolumeName == "" {
			claim.Spec.VolumeName = v.Name
			annotate(claim, volumehelpers.AnnBoundByController)
		}
		annotate(claim, volumehelpers.AnnBindCompleted)
		if err := c.Update(ctx, claim); err != nil {
			return fmt.Errorf("bind claim %q: %w", claim.Name, err)
		}
	}
	return boundStatus(ctx, c, v, claim)
}

// boundStatus gives a claim the state Bound, its volume's access modes and, the
// first time, its capacity: later it is who grows the volume that says so.
func boundStatus(ctx context.Context, c client.Client, v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	after := claim.DeepCopy()
	if claim.Status.Phase != corev1.ClaimBound || claim.Status.Capacity == nil {
		after.Status.Capacity = v.Spec.Capacity.DeepCopy() // the volume may be shared
	}
	after.Status.Phase = corev1.ClaimBound
	after.Status.AccessModes = slices.Clone(v.Spec.AccessModes)
	after.Status.CurrentVolumeAttributesClassName = v.Spec.VolumeAttributesClassName
	return updateStatus(ctx, c, claim, after, &claim.Status, &after.Status)
}

// setPhase leaves the rest of the status to others as long as the phase is right.
func setPhase(ctx context.Context, c client.Client, v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string) error {
	if v.Status.Phase == phase {
		return nil
	}
	after := v.DeepCopy()
	after.Status.Phase, after.Status.Message = phase, message
	return updateStatus(ctx, c, v, after, &v.Status, &after.Status)
}

func updateStatus(ctx context.Context, c client.Client, before, after client.Object, old, status any) error {
	if apiequality.Semantic.DeepEqual(old, status) {
		return nil
	}
	if err := client.IgnoreNotFound(c.Status().Update(ctx, after)); err != nil {
		return fmt.Errorf("write status of %q: %w", before.GetName(), err)
	}
	return nil
}

func annotate(o client.Object, keys ...string) {
	all := o.GetAnnotations()
	if all == nil {
		all = map[string]string{}
	}
	for _, k := range keys {
		all[k] = "yes"
	}
	o.SetAnnotations(all)
}
