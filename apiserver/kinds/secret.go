package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func secretKind() *kind.Kind {
	doc := corev1.Secret{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Secret"),
		Plural:        "secrets",
		Singular:      "secret",
		Namespaced:    true,
		StoragePrefix: "secrets",
		New:           func() txn.Object { return &corev1.Secret{} },
		NewList:       func() runtime.Object { return &corev1.SecretList{} },
		Default: defaults(func(o *corev1.Secret) {
			setDefault(&o.Type, corev1.SecretTypeOpaque)
			mergeStringData(o)
		}),
		Fields: map[string]func(txn.Object) string{
			"type": text(func(o *corev1.Secret) string { return string(o.Type) }),
		},
		Validate: validate(checkSecret),
		Warnings: warnings(secretWarnings),
		Columns:  []column{nameColumn(), str("Type", doc["type"]), str("Data", doc["data"]), ageColumn()},
		Row: row(func(o *corev1.Secret, now time.Time) []any {
			return []any{o.Name, string(o.Type), int64(len(o.Data)), age(o, now)}
		}),
	}
}

// mergeStringData moves the write-only stringData into data.
func mergeStringData(o *corev1.Secret) {
	if len(o.StringData) == 0 {
		return
	}
	data := make(map[string][]byte, len(o.Data)+len(o.StringData))
	for k, v := range o.Data {
		data[k] = v
	}
	for k, v := range o.StringData {
		data[k] = []byte(v)
	}
	o.Data, o.StringData = data, nil
}
