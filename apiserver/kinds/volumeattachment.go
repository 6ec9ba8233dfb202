package kinds

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func volumeAttachmentKind() *kind.Kind {
	p := partsOf(func(o *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentSpec { return &o.Spec },
		func(o *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentStatus { return &o.Status })
	doc := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           storagev1.SchemeGroupVersion.WithKind("VolumeAttachment"),
		Plural:        "volumeattachments",
		Singular:      "volumeattachment",
		StoragePrefix: "volumeattachments",
		New:           func() txn.Object { return &storagev1.VolumeAttachment{} },
		NewList:       func() runtime.Object { return &storagev1.VolumeAttachmentList{} },
		Prepare:       p.withoutStatus,
		Validate:      validate(checkVolumeAttachment),
		Subresources:  map[string]kind.Subresource{"status": p.bareStatusSubresource(nil)},
		Columns: []column{
			nameColumn(), str("Attacher", doc["attacher"]),
			str("PV", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"]), str("Node", doc["nodeName"]),
			boolean("Attached", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"]), ageColumn(),
		},
		Row: row(func(o *storagev1.VolumeAttachment, now time.Time) []any {
			return []any{o.Name, o.Spec.Attacher, deref(o.Spec.Source.PersistentVolumeName, ""), o.Spec.NodeName, o.Status.Attached, age(o, now)}
		}),
	}
}

func checkVolumeAttachment(o, old *storagev1.VolumeAttachment) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if old != nil && !equality.Semantic.DeepEqual(s, &old.Spec) {
		c.invalid(p, nil, immutable)
	}
	c.driverName(p, "attacher", s.Attacher)
	c.messages(p, "nodeName", s.NodeName, validation.IsDNS1123Subdomain(s.NodeName))
	if n := s.Source.PersistentVolumeName; n != nil {
		c.messages(p.Child("source"), "persistentVolumeName", *n, validation.IsDNS1123Subdomain(*n))
	}
	switch source := s.Source; {
	case source.PersistentVolumeName == nil && source.InlineVolumeSpec == nil:
		c.required(p.Child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
	case source.PersistentVolumeName != nil && source.InlineVolumeSpec != nil:
		c.forbidden(p.Child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
	case source.PersistentVolumeName != nil && *source.PersistentVolumeName == "":
		c.required(p.Child("source", "persistentVolumeName"), "must specify non empty persistentVolumeName")
	}
	return c.errs
}
