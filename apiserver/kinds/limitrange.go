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
		Columns:       []column{nameColumn(), createdColumn()},
		Row:           row(func(o *corev1.LimitRange, _ time.Time) []any { return []any{o.Name, created(o)} }),
	}
}
