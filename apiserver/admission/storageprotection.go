package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// protections are the finalizers of what is in use by others. The protection
// controllers take them off when it no longer is.
var protections = map[schema.GroupResource]string{
	claims:                               "kubernetes.io/pvc-protection",
	corev1.Resource("persistentvolumes"): "kubernetes.io/pv-protection",
}

// storageProtection keeps claims that pods use, and volumes that claims are
// bound to, from going while they are used.
func storageProtection() write.Step {
	return write.Step{Name: "StorageObjectInUseProtection", Mutate: func(_ context.Context, _ txn.View, r *write.Request) error {
		finalizer := protections[r.Ref.Resource]
		if finalizer == "" || !creates(r, r.Ref.Resource) || slices.Contains(r.Object.GetFinalizers(), finalizer) {
			return nil
		}
		r.Object.SetFinalizers(append(r.Object.GetFinalizers(), finalizer))
		return nil
	}}
}

// claimResize lets claims grow only when they are bound and their class knows
// how to make volumes larger.
func claimResize() write.Step {
	return write.Step{Name: "PersistentVolumeClaimResize", Validate: func(_ context.Context, view txn.View, r *write.Request) error {
		if r.Ref.Resource != claims || r.Operation != write.OperationUpdate || r.Subresource != "" {
			return nil
		}
		claim, old := r.Object.(*corev1.PersistentVolumeClaim), r.Old.(*corev1.PersistentVolumeClaim)
		if claim.Spec.Resources.Requests.Storage().Cmp(*old.Spec.Resources.Requests.Storage()) <= 0 {
			return nil
		}
		if old.Status.Phase != corev1.ClaimBound {
			return forbidden(r, "Only bound persistent volume claims can be expanded")
		}
		if class := classOfClaim(claim); class != "" && class == classOfClaim(old) {
			ref := txn.Ref{Resource: storageClasses, Name: class}
			if o, ok := view.Get(ref); ok && ptr.Deref(o.(*storagev1.StorageClass).AllowVolumeExpansion, false) {
				r.Decide(ref)
				return nil
			}
		}
		return forbidden(r, "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
	}}
}

func classOfClaim(claim *corev1.PersistentVolumeClaim) string {
	if class, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	return ptr.Deref(claim.Spec.StorageClassName, "")
}
