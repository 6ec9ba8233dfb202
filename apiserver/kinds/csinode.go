package kinds

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func csiNodeKind() *kind.Kind {
	return &kind.Kind{
		GVK:           storagev1.SchemeGroupVersion.WithKind("CSINode"),
		Plural:        "csinodes",
		Singular:      "csinode",
		StoragePrefix: "csinodes",
		New:           func() txn.Object { return &storagev1.CSINode{} },
		NewList:       func() runtime.Object { return &storagev1.CSINodeList{} },
		Prepare:       prepare(prepareCSINode),
		Validate:      validate(checkCSINode),
		Columns:       []column{nameColumn(), integer("Drivers", storagev1.CSINodeSpec{}.SwaggerDoc()["drivers"]), ageColumn()},
		Row: row(func(o *storagev1.CSINode, now time.Time) []any {
			return []any{o.Name, int64(len(o.Spec.Drivers)), age(o, now)}
		}),
	}
}

// maxNodeID is how long the name may be that a driver has for a node.
const maxNodeID = 256

// prepareCSINode drops what drivers would tell of their storage's health: only
// an object that has it already keeps it.
func prepareCSINode(o, old *storagev1.CSINode) {
	if old == nil || len(old.Status.StorageHealth) == 0 {
		o.Status.StorageHealth = nil
	}
}

// checkCSINode lets a driver's entry be added and removed, but changed only in
// how many volumes it can take.
func checkCSINode(o, old *storagev1.CSINode) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec", "drivers")
	before := map[string]storagev1.CSINodeDriver{}
	if old != nil {
		for _, d := range old.Spec.Drivers {
			before[d.Name] = d
		}
	}
	names := sets.New[string]()
	for i, d := range o.Spec.Drivers {
		at := p.Index(i)
		c.driverName(at, "name", d.Name)
		if names.Has(d.Name) {
			c.add(field.Duplicate(at.Child("name"), d.Name))
		}
		names.Insert(d.Name)
		switch n := len(d.NodeID); {
		case n == 0:
			c.required(at.Child("nodeID"), "")
		case n > maxNodeID:
			c.invalid(at.Child("nodeID"), d.NodeID, "must be 256 characters or less")
		}
		if d.Allocatable != nil {
			c.nonNegativePtr(at.Child("allocatable"), "count", d.Allocatable.Count)
		}
		keys := sets.New[string]()
		for _, key := range d.TopologyKeys {
			if key == "" {
				c.required(at, "")
			}
			if keys.Has(key) {
				c.add(field.Duplicate(at, key))
			}
			keys.Insert(key)
			for _, m := range validation.IsQualifiedName(key) {
				c.invalid(at, key, m)
			}
		}
		if was, ok := before[d.Name]; ok {
			was.Allocatable = d.Allocatable
			if !equality.Semantic.DeepEqual(was, d) {
				c.invalid(p, d, immutable)
			}
		}
	}
	return c.errs
}
