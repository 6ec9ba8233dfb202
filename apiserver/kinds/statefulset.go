package kinds

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func statefulSetKind() *kind.Kind {
	return &kind.Kind{
		GVK:           appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		Plural:        "statefulsets",
		Singular:      "statefulset",
		ShortNames:    []string{"sts"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "statefulsets",
		New:           func() txn.Object { return &appsv1.StatefulSet{} },
		NewList:       func() runtime.Object { return &appsv1.StatefulSetList{} },
		Columns: append([]column{
			nameColumn(), str("Ready", "Number of the pod with ready state"), ageColumn(),
		}, templateColumns()[:2]...),
		Row: row(func(o *appsv1.StatefulSet, now time.Time) []any {
			pod := &o.Spec.Template.Spec
			return []any{
				o.Name, fmt.Sprintf("%d/%d", o.Status.ReadyReplicas, deref(o.Spec.Replicas, 0)), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers),
			}
		}),
	}
}
