package kinds

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func replicaSetKind() *kind.Kind {
	return &kind.Kind{
		GVK:           appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Plural:        "replicasets",
		Singular:      "replicaset",
		ShortNames:    []string{"rs"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "replicasets",
		New:           func() txn.Object { return &appsv1.ReplicaSet{} },
		NewList:       func() runtime.Object { return &appsv1.ReplicaSetList{} },
		Columns: append([]column{
			nameColumn(), integer("Desired", appsv1.ReplicaSetSpec{}.SwaggerDoc()["replicas"]),
			integer("Current", appsv1.ReplicaSetStatus{}.SwaggerDoc()["replicas"]),
			integer("Ready", appsv1.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *appsv1.ReplicaSet, now time.Time) []any {
			pod := &o.Spec.Template.Spec
			return []any{
				o.Name, int64(deref(o.Spec.Replicas, 0)), int64(o.Status.Replicas), int64(o.Status.ReadyReplicas), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers), selectorText(o.Spec.Selector),
			}
		}),
	}
}
