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

func csiStorageCapacityKind() *kind.Kind {
	doc := storagev1.CSIStorageCapacity{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           storagev1.SchemeGroupVersion.WithKind("CSIStorageCapacity"),
		Plural:        "csistoragecapacities",
		Singular:      "csistoragecapacity",
		Namespaced:    true,
		StoragePrefix: "csistoragecapacities",
		New:           func() txn.Object { return &storagev1.CSIStorageCapacity{} },
		NewList:       func() runtime.Object { return &storagev1.CSIStorageCapacityList{} },
		Validate:      validate(checkCSIStorageCapacity),
		Columns:       []column{nameColumn(), str("StorageClassName", doc["storageClassName"]), str("Capacity", doc["capacity"])},
		Row: row(func(o *storagev1.CSIStorageCapacity, _ time.Time) []any {
			capacity := unset
			if o.Capacity != nil {
				capacity = o.Capacity.String()
			}
			return []any{o.Name, o.StorageClassName, capacity}
		}),
	}
}

func checkCSIStorageCapacity(o, old *storagev1.CSIStorageCapacity) fieldErrors {
	c := &checker{}
	c.messages(nil, "storageClassName", o.StorageClassName, validation.IsDNS1123Subdomain(o.StorageClassName))
	c.selector(field.NewPath("nodeTopology"), o.NodeTopology)
	if q := o.Capacity; q != nil && q.Sign() < 0 {
		c.invalid(field.NewPath("capacity"), q.String(), isNegative)
	}
	if q := o.MaximumVolumeSize; q != nil && q.Sign() < 0 {
		c.invalid(field.NewPath("maximumVolumeSize"), q.String(), isNegative)
	}
	if old == nil {
		return c.errs
	}
	same(c, nil, "storageClassName", o.StorageClassName, old.StorageClassName)
	if !equality.Semantic.DeepEqual(o.NodeTopology, old.NodeTopology) {
		c.invalid(field.NewPath("nodeTopology"), o.NodeTopology, immutable)
	}
	return c.errs
}
