package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func limitRangeKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("LimitRange"),
		Plural:        "limitranges",
		Singular:      "limitrange",
		ShortNames:    []string{"limits"},
		Namespaced:    true,
		StoragePrefix: "limitranges",
		New:           func() txn.Object { return &corev1.LimitRange{} },
		NewList:       func() runtime.Object { return &corev1.LimitRangeList{} },
		Default:       defaults(defaultLimitRange),
		Validate:      validate(checkLimitRange),
		Columns:       []column{nameColumn(), createdColumn()},
		Row:           row(func(o *corev1.LimitRange, _ time.Time) []any { return []any{o.Name, created(o)} }),
	}
}

// defaultLimitRange lets what is left out of a container's limits follow from
// the rest: max, then default, then defaultRequest, or else min.
func defaultLimitRange(o *corev1.LimitRange) {
	for i := range o.Spec.Limits {
		l := &o.Spec.Limits[i]
		for _, list := range []corev1.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
			roundResources(list)
		}
		if l.Type != corev1.LimitTypeContainer {
			continue
		}
		if l.Default == nil {
			l.Default = corev1.ResourceList{}
		}
		if l.DefaultRequest == nil {
			l.DefaultRequest = corev1.ResourceList{}
		}
		fillResources(l.Default, l.Max)
		fillResources(l.DefaultRequest, l.Default)
		fillResources(l.DefaultRequest, l.Min)
	}
}

// fillResources copies what list lacks.
func fillResources(list, from corev1.ResourceList) {
	for name, q := range from {
		if _, ok := list[name]; !ok {
			list[name] = q.DeepCopy()
		}
	}
}
