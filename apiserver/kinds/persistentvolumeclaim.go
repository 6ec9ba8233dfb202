package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func persistentVolumeClaimKind() *kind.Kind {
	p := partsOf(func(o *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimSpec { return &o.Spec }, func(o *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimStatus { return &o.Status })
	doc := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc()
	status := corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"),
		Plural:        "persistentvolumeclaims",
		Singular:      "persistentvolumeclaim",
		ShortNames:    []string{"pvc"},
		Namespaced:    true,
		StoragePrefix: "persistentvolumeclaims",
		New:           func() txn.Object { return &corev1.PersistentVolumeClaim{} },
		NewList:       func() runtime.Object { return &corev1.PersistentVolumeClaimList{} },
		Default:       defaults(defaultPersistentVolumeClaim),
		Prepare: prepare(func(o, old *corev1.PersistentVolumeClaim) {
			p.withoutStatus(o, untyped(old))
			var was *corev1.PersistentVolumeClaimSpec
			if old != nil {
				was = &old.Spec
			}
			normalizeSources(&o.Spec, was)
			if old == nil {
				o.Status.Phase = corev1.ClaimPending
			}
		}),
		Subresources: map[string]kind.Subresource{"status": claimStatus(p.statusSubresource(checkClaimStatus))},
		Validate:     validate(checkPersistentVolumeClaim),
		Columns: append([]column{
			nameColumn(), str("Status", status["phase"]), str("Volume", doc["volumeName"]), str("Capacity", status["capacity"]),
			str("Access Modes", status["accessModes"]), str("StorageClass", doc["storageClassName"]),
			str("VolumeAttributesClass", doc["volumeAttributesClassName"]), ageColumn(),
		}, wide(str("VolumeMode", doc["volumeMode"]))...),
		Row: row(persistentVolumeClaimRow),
	}
}

// claimStatus drops what drivers would tell of a volume's health: only a claim
// that has it already keeps it.
func claimStatus(s kind.Subresource) kind.Subresource {
	main := s.Prepare
	s.Prepare = func(o, old txn.Object) {
		main(o, old)
		if old.(*corev1.PersistentVolumeClaim).Status.HealthStatus == nil {
			o.(*corev1.PersistentVolumeClaim).Status.HealthStatus = nil
		}
	}
	return s
}

func persistentVolumeClaimRow(o *corev1.PersistentVolumeClaim, now time.Time) []any {
	capacity, modes := "", ""
	claimed := o.Status.Capacity[corev1.ResourceStorage]
	if o.Spec.VolumeName != "" {
		capacity, modes = claimed.String(), accessModes(o.Status.AccessModes)
	}
	class := deref(o.Spec.StorageClassName, "")
	if beta, ok := o.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		class = beta
	}
	return []any{
		o.Name, volumePhase(o, string(o.Status.Phase)), o.Spec.VolumeName, capacity, modes, class,
		deref(o.Spec.VolumeAttributesClassName, unset), age(o, now), string(deref(o.Spec.VolumeMode, unset)),
	}
}

func defaultPersistentVolumeClaim(o *corev1.PersistentVolumeClaim) {
	setDefault(&o.Status.Phase, corev1.ClaimPending)
	defaultClaimSpec(&o.Spec)
}

// normalizeSources brings the two names of what a claim is filled from
// together. The old one takes claims and snapshots alone: others, which it let
// pass once, are dropped, but for claims (old, nil on create) that have one. So
// are sources in other namespaces.
func normalizeSources(s, old *corev1.PersistentVolumeClaimSpec) {
	if r := s.DataSourceRef; r != nil && deref(r.Namespace, "") != "" && (old == nil || old.DataSourceRef == nil) {
		s.DataSourceRef = nil
	}
	has := old != nil && (old.DataSource != nil || old.DataSourceRef != nil)
	if r := s.DataSource; r != nil && s.DataSourceRef == nil && !has {
		group := deref(r.APIGroup, "")
		if (r.Kind != "PersistentVolumeClaim" || group != "") && (r.Kind != "VolumeSnapshot" || group != "snapshot.storage.k8s.io") {
			s.DataSource = nil
		}
	}
	switch {
	case s.DataSource != nil && s.DataSourceRef == nil:
		r := s.DataSource
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: r.APIGroup, Kind: r.Kind, Name: r.Name}
	case s.DataSource == nil && s.DataSourceRef != nil && deref(s.DataSourceRef.Namespace, "") == "":
		r := s.DataSourceRef
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: r.APIGroup, Kind: r.Kind, Name: r.Name}
	}
}
