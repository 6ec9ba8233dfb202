package volumebinder

import (
	corev1 "k8s.io/api/core/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// Match chooses a volume for a claim: the one that is reserved for it by its
// claimRef, else the smallest free one that fits, the first of the list among
// equals. reservedOnly leaves out free ones. nil: none fits. The error is about
// the claim's selector.
func Match(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, reservedOnly bool) (*corev1.PersistentVolume, error) {
	var usable []*corev1.PersistentVolume
	for _, v := range volumes {
		if volumehelpers.CheckAccessModes(claim, v) {
			usable = append(usable, v)
		}
	}
	return volumehelpers.FindMatchingVolume(claim, usable, nil, nil, reservedOnly, true)
}

// Mismatch says why a volume does not do for a claim; empty: it does.
func Mismatch(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	has, wants := v.Spec.Capacity[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case has.Cmp(wants) < 0:
		return "requested PV is too small"
	case volumehelpers.GetPersistentVolumeClass(v) != volumehelpers.GetPersistentVolumeClaimClass(claim):
		return "storageClassName does not match"
	case volumehelpers.CheckVolumeModeMismatches(&claim.Spec, &v.Spec):
		return "incompatible volumeMode"
	case ptr.Deref(v.Spec.VolumeAttributesClassName, "") != ptr.Deref(claim.Spec.VolumeAttributesClassName, ""):
		return "volumeAttributesClassName does not match"
	case !volumehelpers.CheckAccessModes(claim, v):
		return "incompatible accessMode"
	}
	return ""
}

// reserved tells whether a volume's claimRef names the claim, with its UID or none.
func reserved(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	return v.Spec.ClaimRef != nil && volumehelpers.IsVolumeBoundToClaim(v, claim)
}
