package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func priorityClassKind() *kind.Kind {
	doc := schedulingv1.PriorityClass{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"),
		Plural:        "priorityclasses",
		Singular:      "priorityclass",
		ShortNames:    []string{"pc"},
		StoragePrefix: "priorityclasses",
		New:           func() txn.Object { return &schedulingv1.PriorityClass{} },
		NewList:       func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		Default:       defaults(func(o *schedulingv1.PriorityClass) { setDefaultPtr(&o.PreemptionPolicy, corev1.PreemptLowerPriority) }),
		Prepare: prepare(func(o, old *schedulingv1.PriorityClass) {
			// Everything but the description is fixed, so the generation stays 1.
			o.Generation = 1
			if old != nil {
				o.Generation = old.Generation
			}
		}),
		Validate: validate(checkPriorityClass),
		Columns: []column{
			nameColumn(), integer("Value", doc["value"]), boolean("Global-Default", doc["globalDefault"]), ageColumn(),
			str("PreemptionPolicy", doc["preemptionPolicy"]),
		},
		Row: row(func(o *schedulingv1.PriorityClass, now time.Time) []any {
			return []any{o.Name, int64(o.Value), o.GlobalDefault, age(o, now), string(deref(o.PreemptionPolicy, corev1.PreemptLowerPriority))}
		}),
	}
}
