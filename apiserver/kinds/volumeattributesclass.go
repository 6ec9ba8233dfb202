package kinds

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func volumeAttributesClassKind() *kind.Kind {
	return &kind.Kind{
		GVK:           storagev1.SchemeGroupVersion.WithKind("VolumeAttributesClass"),
		Plural:        "volumeattributesclasses",
		Singular:      "volumeattributesclass",
		ShortNames:    []string{"vac"},
		StoragePrefix: "volumeattributesclasses",
		New:           func() txn.Object { return &storagev1.VolumeAttributesClass{} },
		NewList:       func() runtime.Object { return &storagev1.VolumeAttributesClassList{} },
		Validate:      validate(checkVolumeAttributesClass),
		Columns:       []column{nameColumn(), str("DriverName", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"]), ageColumn()},
		Row: row(func(o *storagev1.VolumeAttributesClass, now time.Time) []any {
			return []any{o.Name, o.DriverName, age(o, now)}
		}),
	}
}

// maxAttributes bounds the parameters of a class.
const maxAttributes = 512

func checkVolumeAttributesClass(o, old *storagev1.VolumeAttributesClass) fieldErrors {
	c := &checker{}
	at := field.NewPath("parameters")
	c.provisioner("driverName", o.DriverName)
	switch {
	case len(o.Parameters) == 0:
		c.required(at, "must contain at least one key/value pair")
	case len(o.Parameters) > maxAttributes:
		c.add(field.TooMany(at, len(o.Parameters), maxAttributes))
	}
	if _, ok := o.Parameters[""]; ok {
		c.invalid(at, "", "field can not be empty.")
	}
	if old == nil {
		return c.errs
	}
	if o.DriverName != old.DriverName {
		c.forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
	}
	if !equality.Semantic.DeepEqual(o.Parameters, old.Parameters) {
		c.forbidden(at, "updates to parameters are forbidden.")
	}
	return c.errs
}
