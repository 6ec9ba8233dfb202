package volumebinder

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/storageclass"
	"github.com/headway-sh/headway/reconciler/controller"
)

// Claims reconciles one claim at a time.
type Claims struct{ controller.Deps }

// Reconcile finds the claim a volume, or asks for one to be made.
func (r *Claims) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := r.Client.Get(ctx, req.NamespacedName, claim); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	switch {
	case claim.Annotations[volumehelpers.AnnBindCompleted] != "":
		return reconcile.Result{}, r.keep(ctx, claim)
	case claim.Spec.VolumeName != "":
		return reconcile.Result{}, r.bindWanted(ctx, claim)
	}
	return reconcile.Result{}, r.find(ctx, claim)
}

// keep looks after a claim that has been bound.
func (r *Claims) keep(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName == "" {
		return r.lost(ctx, claim, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Any data on the volume is lost!")
	}
	v := &corev1.PersistentVolume{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: claim.Spec.VolumeName}, v)
	switch {
	case apierrors.IsNotFound(err):
		return r.lost(ctx, claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Any data on the volume is lost!")
	case err != nil:
		return fmt.Errorf("get volume %q: %w", claim.Spec.VolumeName, err)
	case v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID != claim.UID:
		return r.lost(ctx, claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	}
	return bind(ctx, r.Client, v, claim)
}

func (r *Claims) lost(ctx context.Context, claim *corev1.PersistentVolumeClaim, reason, message string) error {
	after := claim.DeepCopy()
	after.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimLost, Conditions: claim.Status.Conditions}
	if claim.Status.Phase != corev1.ClaimLost {
		r.Events.Event(claim, corev1.EventTypeWarning, reason, message)
	}
	return updateStatus(ctx, r.Client, claim, after, &claim.Status, &after.Status)
}

// bindWanted binds a claim to the volume that it names itself.
func (r *Claims) bindWanted(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	v := &corev1.PersistentVolume{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: claim.Spec.VolumeName}, v)
	switch {
	case apierrors.IsNotFound(err):
		return r.wait(ctx, claim)
	case err != nil:
		return fmt.Errorf("get volume %q: %w", claim.Spec.VolumeName, err)
	case v.Spec.ClaimRef != nil && !reserved(v, claim):
		r.Events.Eventf(claim, corev1.EventTypeWarning, "FailedBinding", "volume %q already bound to a different claim.", v.Name)
		return r.wait(ctx, claim)
	}
	// A volume that is reserved for the claim by both is bound as it is.
	if reason := Mismatch(v, claim); reason != "" && v.Spec.ClaimRef == nil {
		r.Events.Eventf(claim, corev1.EventTypeWarning, "VolumeMismatch", "Cannot bind to requested volume %q: %s", v.Name, reason)
		return r.wait(ctx, claim)
	}
	return bind(ctx, r.Client, v, claim)
}

// find binds a claim to a volume that fits, or asks for one.
func (r *Claims) find(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	class, missing, err := r.class(ctx, claim)
	if err != nil {
		return err
	}
	if class != nil && volumehelpers.GetPersistentVolumeClaimClass(claim) == "" {
		return r.adoptClass(ctx, claim, class.Name) // what the admission of claims would have done
	}
	var list corev1.PersistentVolumeList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	// Among free volumes the scheduler chooses, who knows the node.
	waits := class != nil && ptr.Deref(class.VolumeBindingMode, "") == storagev1.VolumeBindingWaitForFirstConsumer
	v, err := Match(claim, pointers(list.Items), waits)
	if err != nil {
		return fmt.Errorf("find a volume for claim %q: %w", claim.Name, err)
	}
	if v != nil {
		return bind(ctx, r.Client, v, claim)
	}
	switch {
	case claim.DeletionTimestamp != nil:
	case waits && claim.Annotations[volumehelpers.AnnSelectedNode] == "":
		r.Events.Event(claim, corev1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	case missing:
		r.Events.Eventf(claim, corev1.EventTypeWarning, "ProvisioningFailed", "storageclass.storage.k8s.io %q not found", volumehelpers.GetPersistentVolumeClaimClass(claim))
	case class != nil:
		return r.ask(ctx, claim, class.Provisioner)
	default:
		r.Events.Event(claim, corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	}
	return r.wait(ctx, claim)
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}

// class is the claim's class, the default one when it names none.
func (r *Claims) class(ctx context.Context, claim *corev1.PersistentVolumeClaim) (class *storagev1.StorageClass, missing bool, err error) {
	if name := volumehelpers.GetPersistentVolumeClaimClass(claim); name != "" {
		class = &storagev1.StorageClass{}
		err := r.Client.Get(ctx, client.ObjectKey{Name: name}, class)
		if apierrors.IsNotFound(err) {
			return nil, true, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("get storage class %q: %w", name, err)
		}
		return class, false, nil
	}
	_, old := claim.Annotations[corev1.BetaStorageClassAnnotation]
	if old || claim.Spec.StorageClassName != nil {
		return nil, false, nil // it says that it wants none
	}
	var classes storagev1.StorageClassList
	if err := r.Client.List(ctx, &classes); err != nil {
		return nil, false, fmt.Errorf("list storage classes: %w", err)
	}
	for i := range classes.Items {
		c := &classes.Items[i]
		if storageclass.IsDefault(c.Annotations) && (class == nil || newer(c, class)) {
			class = c
		}
	}
	return class, false, nil
}

func newer(a, b client.Object) bool {
	return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName())) < 0
}

func (r *Claims) adoptClass(ctx context.Context, claim *corev1.PersistentVolumeClaim, name string) error {
	claim = claim.DeepCopy()
	claim.Spec.StorageClassName = &name
	if err := r.Client.Update(ctx, claim); err != nil {
		return fmt.Errorf("give claim %q its class: %w", claim.Name, err)
	}
	return nil
}

// ask leaves a claim to its class's provisioner.
func (r *Claims) ask(ctx context.Context, claim *corev1.PersistentVolumeClaim, provisioner string) error {
	if claim.Annotations[volumehelpers.AnnStorageProvisioner] != provisioner {
		claim = claim.DeepCopy()
		if claim.Annotations == nil {
			claim.Annotations = map[string]string{}
		}
		claim.Annotations[volumehelpers.AnnStorageProvisioner], claim.Annotations[volumehelpers.AnnBetaStorageProvisioner] = provisioner, provisioner
		if err := r.Client.Update(ctx, claim); err != nil {
			return fmt.Errorf("ask provisioner for claim %q: %w", claim.Name, err)
		}
	}
	r.Events.Eventf(claim, corev1.EventTypeNormal, "ExternalProvisioning",
		"Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
			"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", provisioner)
	return r.wait(ctx, claim)
}

// wait says that a claim has no volume yet.
func (r *Claims) wait(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	after := claim.DeepCopy()
	after.Status.Phase = corev1.ClaimPending
	return updateStatus(ctx, r.Client, claim, after, &claim.Status, &after.Status)
}
