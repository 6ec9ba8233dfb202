package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func replicationControllerKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		Plural:        "replicationcontrollers",
		Singular:      "replicationcontroller",
		ShortNames:    []string{"rc"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "controllers",
		New:           func() txn.Object { return &corev1.ReplicationController{} },
		NewList:       func() runtime.Object { return &corev1.ReplicationControllerList{} },
		Columns: append([]column{
			nameColumn(), integer("Desired", corev1.ReplicationControllerSpec{}.SwaggerDoc()["replicas"]),
			integer("Current", corev1.ReplicationControllerStatus{}.SwaggerDoc()["replicas"]),
			integer("Ready", corev1.ReplicationControllerStatus{}.SwaggerDoc()["readyReplicas"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *corev1.ReplicationController, now time.Time) []any {
			var pod corev1.PodSpec
			if o.Spec.Template != nil {
				pod = o.Spec.Template.Spec
			}
			return []any{
				o.Name, int64(deref(o.Spec.Replicas, 0)), int64(o.Status.Replicas), int64(o.Status.ReadyReplicas), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers), labelsText(o.Spec.Selector),
			}
		}),
	}
}
