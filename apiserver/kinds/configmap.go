package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func configMapKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Plural:        "configmaps",
		Singular:      "configmap",
		ShortNames:    []string{"cm"},
		Namespaced:    true,
		StoragePrefix: "configmaps",
		New:           func() txn.Object { return &corev1.ConfigMap{} },
		NewList:       func() runtime.Object { return &corev1.ConfigMapList{} },
		Validate:      validate(checkConfigMap),
		Columns:       []column{nameColumn(), str("Data", corev1.ConfigMap{}.SwaggerDoc()["data"]), ageColumn()},
		Row: row(func(o *corev1.ConfigMap, now time.Time) []any {
			return []any{o.Name, int64(len(o.Data) + len(o.BinaryData)), age(o, now)}
		}),
	}
}
