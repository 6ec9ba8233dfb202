package kinds

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func podDisruptionBudgetKind() *kind.Kind {
	p := partsOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &o.Spec }, func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetStatus { return &o.Status })
	return &kind.Kind{
		GVK:             policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
		Plural:          "poddisruptionbudgets",
		Singular:        "poddisruptionbudget",
		ShortNames:      []string{"pdb"},
		Namespaced:      true,
		StoragePrefix:   "poddisruptionbudgets",
		New:             func() txn.Object { return &policyv1.PodDisruptionBudget{} },
		NewList:         func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
		Prepare:         p.main,
		Subresources:    map[string]kind.Subresource{"status": p.statusSubresource(checkPodDisruptionBudgetStatus)},
		Name:            rbacName,
		PlainFinalizers: true,
		Validate:        validate(checkPodDisruptionBudget),
		Columns: []column{
			nameColumn(), str("Min Available", "The minimum number of pods that must be available."),
			str("Max Unavailable", "The maximum number of pods that may be unavailable."),
			integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."), ageColumn(),
		},
		Row: row(func(o *policyv1.PodDisruptionBudget, now time.Time) []any {
			return []any{o.Name, notApplicable(o.Spec.MinAvailable), notApplicable(o.Spec.MaxUnavailable), int64(o.Status.DisruptionsAllowed), age(o, now)}
		}),
	}
}

func notApplicable(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}
