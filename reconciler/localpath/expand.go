package localpath

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/localvolume"
	"github.com/headway-sh/headway/reconciler/controller"
)

// ExpandName is the controller's that grows volumes, and its service account's
// in kube-system.
const ExpandName = "expand-controller"

// NewExpand returns the controller that grows volumes.
func NewExpand(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(ExpandName, deps, 2, &Expand{deps}, controller.Self(deps.Cache, &corev1.PersistentVolumeClaim{}))
}

// Expand grows the volume of one claim at a time. A directory has the room of
// its disk: what grows is what is written down.
type Expand struct{ controller.Deps }

// Reconcile gives the volume and then the claim the size that is asked for.
// That the class allows it was checked when it was asked.
func (r *Expand) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := r.Client.Get(ctx, req.NamespacedName, claim); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	wants, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if claim.Status.Phase != corev1.ClaimBound || claim.DeletionTimestamp != nil || wants.Cmp(has) <= 0 {
		return reconcile.Result{}, nil
	}
	v := &corev1.PersistentVolume{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: claim.Spec.VolumeName}, v); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !localvolume.Is(v) {
		return reconcile.Result{}, nil // its driver's task
	}
	if size := v.Spec.Capacity[corev1.ResourceStorage]; size.Cmp(wants) < 0 {
		grown := v.DeepCopy()
		grown.Spec.Capacity[corev1.ResourceStorage] = wants
		if err := r.Client.Patch(ctx, grown, client.MergeFromWithOptions(v, client.MergeFromWithOptimisticLock{})); err != nil {
			return reconcile.Result{}, fmt.Errorf("grow volume %q: %w", v.Name, err)
		}
	}
	after := claim.DeepCopy()
	if after.Status.Capacity == nil {
		after.Status.Capacity = corev1.ResourceList{}
	}
	after.Status.Capacity[corev1.ResourceStorage] = wants
	if err := r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(claim, client.MergeFromWithOptimisticLock{})); err != nil {
		return reconcile.Result{}, fmt.Errorf("grow claim %q: %w", claim.Name, err)
	}
	r.Events.Eventf(claim, corev1.EventTypeNormal, "VolumeResizeSuccessful", "volume %s has %s", v.Name, wants.String())
	return reconcile.Result{}, nil
}
