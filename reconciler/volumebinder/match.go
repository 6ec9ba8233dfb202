package volumebinder

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// Match chooses a volume for a claim: the one that is reserved for it by its
// claimRef, else the smallest free one that fits, the first by name among
// equals. reservedOnly leaves out free ones. nil: none fits.
func Match(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, reservedOnly bool) *corev1.PersistentVolume {
	selector, err := metav1.LabelSelectorAsSelector(claim.Spec.Selector)
	if err != nil || claim.Spec.Selector == nil {
		selector = labels.Everything()
	}
	var best *corev1.PersistentVolume
	for _, v := range volumes {
		if v.DeletionTimestamp != nil || Mismatch(v, claim) != "" {
			continue
		}
		if v.Spec.ClaimRef != nil {
			if Reserved(v, claim) {
				return v
			}
			continue
		}
		if reservedOnly || v.Status.Phase != corev1.VolumeAvailable || !selector.Matches(labels.Set(v.Labels)) {
			continue
		}
		if best == nil || smaller(v, best) {
			best = v
		}
	}
	return best
}

func smaller(a, b *corev1.PersistentVolume) bool {
	x, y := a.Spec.Capacity[corev1.ResourceStorage], b.Spec.Capacity[corev1.ResourceStorage]
	return cmp.Or(x.Cmp(y), cmp.Compare(a.Name, b.Name)) < 0
}

// Mismatch says why a volume does not do for a claim; empty: it does.
func Mismatch(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	has, wants := v.Spec.Capacity[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case has.Cmp(wants) < 0:
		return "requested PV is too small"
	case ClassOf(v) != claimClass(claim):
		return "storageClassName does not match"
	case volumeMode(v.Spec.VolumeMode) != volumeMode(claim.Spec.VolumeMode):
		return "incompatible volumeMode"
	case ptr.Deref(v.Spec.VolumeAttributesClassName, "") != ptr.Deref(claim.Spec.VolumeAttributesClassName, ""):
		return "volumeAttributesClassName does not match"
	}
	for _, mode := range claim.Spec.AccessModes {
		if !slices.Contains(v.Spec.AccessModes, mode) {
			return "incompatible accessMode"
		}
	}
	return ""
}

// Reserved tells whether a volume's claimRef names the claim, with its UID or none.
func Reserved(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	r := v.Spec.ClaimRef
	return r != nil && r.Namespace == claim.Namespace && r.Name == claim.Name && (r.UID == "" || r.UID == claim.UID)
}

// ClassOf is a volume's storage class; empty: none.
func ClassOf(v *corev1.PersistentVolume) string {
	if old, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return old
	}
	return v.Spec.StorageClassName
}

func claimClass(claim *corev1.PersistentVolumeClaim) string {
	if old, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return old
	}
	return ptr.Deref(claim.Spec.StorageClassName, "")
}

func volumeMode(m *corev1.PersistentVolumeMode) corev1.PersistentVolumeMode {
	return ptr.Deref(m, corev1.PersistentVolumeFilesystem)
}
