package kinds

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func leaseKind() *kind.Kind {
	return &kind.Kind{
		GVK:             coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Plural:          "leases",
		Singular:        "lease",
		Namespaced:      true,
		StoragePrefix:   "leases",
		New:             func() txn.Object { return &coordinationv1.Lease{} },
		NewList:         func() runtime.Object { return &coordinationv1.LeaseList{} },
		PlainFinalizers: true,
		Prepare:         prepare(prepareLease),
		Validate:        validate(checkLease),
		Columns:         []column{nameColumn(), str("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"]), ageColumn()},
		Row: row(func(o *coordinationv1.Lease, now time.Time) []any {
			return []any{o.Name, deref(o.Spec.HolderIdentity, ""), age(o, now)}
		}),
	}
}

// prepareLease drops what coordinated leader election would read: only a Lease
// that has it already keeps it.
func prepareLease(o, old *coordinationv1.Lease) {
	if old == nil || old.Spec.Strategy == nil {
		o.Spec.Strategy = nil
	}
	if old == nil || old.Spec.PreferredHolder == nil {
		o.Spec.PreferredHolder = nil
	}
}
