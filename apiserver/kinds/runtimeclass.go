package kinds

import (
	"time"

	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func runtimeClassKind() *kind.Kind {
	return &kind.Kind{
		GVK:             nodev1.SchemeGroupVersion.WithKind("RuntimeClass"),
		Plural:          "runtimeclasses",
		Singular:        "runtimeclass",
		StoragePrefix:   "runtimeclasses",
		New:             func() txn.Object { return &nodev1.RuntimeClass{} },
		NewList:         func() runtime.Object { return &nodev1.RuntimeClassList{} },
		PlainFinalizers: true,
		Validate:        validate(checkRuntimeClass),
		Columns:         []column{nameColumn(), str("Handler", nodev1.RuntimeClass{}.SwaggerDoc()["handler"]), ageColumn()},
		Row: row(func(o *nodev1.RuntimeClass, now time.Time) []any {
			return []any{o.Name, o.Handler, age(o, now)}
		}),
	}
}
