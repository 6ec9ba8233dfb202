package kinds

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func resourceSliceKind() *kind.Kind {
	doc := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           resourcev1.SchemeGroupVersion.WithKind("ResourceSlice"),
		Plural:        "resourceslices",
		Singular:      "resourceslice",
		StoragePrefix: "resourceslices",
		New:           func() txn.Object { return &resourcev1.ResourceSlice{} },
		NewList:       func() runtime.Object { return &resourcev1.ResourceSliceList{} },
		Prepare: prepare(func(o, old *resourcev1.ResourceSlice) {
			countSpecs(o, untyped(old), o.Spec, func() any { return old.Spec })
		}),
		Fields: map[string]func(txn.Object) string{
			resourcev1.ResourceSliceSelectorNodeName: text(func(o *resourcev1.ResourceSlice) string { return deref(o.Spec.NodeName, "") }),
			resourcev1.ResourceSliceSelectorDriver:   text(func(o *resourcev1.ResourceSlice) string { return o.Spec.Driver }),
		},
		Validate: validate(checkResourceSlice),
		Columns:  []column{nameColumn(), str("Node", doc["nodeName"]), str("Driver", doc["driver"]), str("Pool", doc["pool"]), ageColumn()},
		Row: row(func(o *resourcev1.ResourceSlice, now time.Time) []any {
			return []any{o.Name, deref(o.Spec.NodeName, unset), o.Spec.Driver, o.Spec.Pool.Name, age(o, now)}
		}),
	}
}
