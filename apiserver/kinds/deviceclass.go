package kinds

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func deviceClassKind() *kind.Kind {
	return &kind.Kind{
		GVK:           resourcev1.SchemeGroupVersion.WithKind("DeviceClass"),
		Plural:        "deviceclasses",
		Singular:      "deviceclass",
		StoragePrefix: "deviceclasses",
		New:           func() txn.Object { return &resourcev1.DeviceClass{} },
		NewList:       func() runtime.Object { return &resourcev1.DeviceClassList{} },
		Prepare: prepare(func(o, old *resourcev1.DeviceClass) {
			countSpecs(o, untyped(old), o.Spec, func() any { return old.Spec })
		}),
		Validate: validate(checkDeviceClass),
		Columns:  []column{nameColumn(), ageColumn()},
		Row: row(func(o *resourcev1.DeviceClass, now time.Time) []any {
			return []any{o.Name, age(o, now)}
		}),
	}
}

func checkDeviceClass(o, old *resourcev1.DeviceClass) fieldErrors {
	c, p := &checker{}, field.NewPath("spec")
	var was *resourcev1.DeviceClassSpec
	if old != nil {
		was = &old.Spec
	}
	c.deviceSelectors(p.Child("selectors"), o.Spec.Selectors, was != nil && alike(o.Spec.Selectors, was.Selectors))
	if c.fewer(p.Child("config"), len(o.Spec.Config), resourcev1.DeviceConfigMaxSize) {
		for i := range o.Spec.Config {
			c.deviceConfiguration(p.Child("config").Index(i), &o.Spec.Config[i].DeviceConfiguration, was != nil && alike(o.Spec.Config, was.Config))
		}
	}
	if name := o.Spec.ExtendedResourceName; name != nil && !isExtendedResource(*name) {
		c.invalid(p.Child("extendedResourceName"), *name, "must be a valid extended resource name")
	}
	return c.errs
}
