package kinds

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func persistentVolumeKind() *kind.Kind {
	p := partsOf(func(o *corev1.PersistentVolume) *corev1.PersistentVolumeSpec { return &o.Spec }, func(o *corev1.PersistentVolume) *corev1.PersistentVolumeStatus { return &o.Status })
	doc := corev1.PersistentVolumeSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("PersistentVolume"),
		Plural:        "persistentvolumes",
		Singular:      "persistentvolume",
		ShortNames:    []string{"pv"},
		StoragePrefix: "persistentvolumes",
		New:           func() txn.Object { return &corev1.PersistentVolume{} },
		NewList:       func() runtime.Object { return &corev1.PersistentVolumeList{} },
		Default:       defaults(defaultPersistentVolume),
		Prepare: prepare(func(o, old *corev1.PersistentVolume) {
			p.withoutStatus(o, untyped(old))
			if old == nil {
				o.Status.Phase = corev1.VolumePending
				if created := o.CreationTimestamp; !created.IsZero() {
					o.Status.LastPhaseTransitionTime = &created
				}
			}
		}),
		Subresources: map[string]kind.Subresource{"status": p.statusSubresource(nil)},
		Validate:     validate(checkPersistentVolume),
		Columns: append([]column{
			nameColumn(), str("Capacity", doc["capacity"]), str("Access Modes", doc["accessModes"]),
			str("Reclaim Policy", doc["persistentVolumeReclaimPolicy"]), str("Status", corev1.PersistentVolumeStatus{}.SwaggerDoc()["phase"]),
			str("Claim", doc["claimRef"]), str("StorageClass", doc["storageClassName"]),
			str("VolumeAttributesClass", doc["volumeAttributesClassName"]),
			str("Reason", corev1.PersistentVolumeStatus{}.SwaggerDoc()["reason"]), ageColumn(),
		}, wide(str("VolumeMode", doc["volumeMode"]))...),
		Row: row(persistentVolumeRow),
	}
}

func persistentVolumeRow(o *corev1.PersistentVolume, now time.Time) []any {
	claim := ""
	if ref := o.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	class := o.Spec.StorageClassName
	if beta, ok := o.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		class = beta
	}
	return []any{
		o.Name, storageText(o.Spec.Capacity), accessModes(o.Spec.AccessModes), string(o.Spec.PersistentVolumeReclaimPolicy),
		volumePhase(o, string(o.Status.Phase)), claim, class, deref(o.Spec.VolumeAttributesClassName, unset), o.Status.Reason,
		age(o, now), string(deref(o.Spec.VolumeMode, unset)),
	}
}

func volumePhase(o metav1.Object, phase string) string {
	if o.GetDeletionTimestamp() != nil {
		return "Terminating"
	}
	return phase
}

func storageText(capacity corev1.ResourceList) string {
	q, ok := capacity[corev1.ResourceStorage]
	if !ok {
		return ""
	}
	return q.String()
}

// accessModes abbreviates the modes in their usual order.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var texts []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		text string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			texts = append(texts, m.text)
		}
	}
	return strings.Join(texts, ",")
}

func defaultPersistentVolume(o *corev1.PersistentVolume) {
	setDefault(&o.Status.Phase, corev1.VolumePending)
	setDefault(&o.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	setDefaultPtr(&o.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundResources(o.Spec.Capacity)
	v := &o.Spec.PersistentVolumeSource
	switch {
	case v.HostPath != nil:
		setDefaultPtr(&v.HostPath.Type, corev1.HostPathUnset)
	case v.ISCSI != nil:
		setDefault(&v.ISCSI.ISCSIInterface, "default")
	case v.RBD != nil:
		defaultRBD(&v.RBD.RBDPool, &v.RBD.RadosUser, &v.RBD.Keyring)
	case v.AzureDisk != nil:
		defaultAzureDisk(v.AzureDisk)
	case v.ScaleIO != nil:
		defaultScaleIO(&v.ScaleIO.StorageMode, &v.ScaleIO.FSType)
	}
}
