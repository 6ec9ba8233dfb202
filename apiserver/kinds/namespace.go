package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func namespaceKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Namespace"),
		Plural:        "namespaces",
		Singular:      "namespace",
		ShortNames:    []string{"ns"},
		StoragePrefix: "namespaces",
		New:           func() txn.Object { return &corev1.Namespace{} },
		NewList:       func() runtime.Object { return &corev1.NamespaceList{} },
		Columns:       []column{nameColumn(), str("Status", "The status of the namespace"), ageColumn()},
		Row: row(func(o *corev1.Namespace, now time.Time) []any {
			return []any{o.Name, string(o.Status.Phase), age(o, now)}
		}),
	}
}
