package kinds

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func daemonSetKind() *kind.Kind {
	doc := appsv1.DaemonSetStatus{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
		Plural:        "daemonsets",
		Singular:      "daemonset",
		ShortNames:    []string{"ds"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "daemonsets",
		New:           func() txn.Object { return &appsv1.DaemonSet{} },
		NewList:       func() runtime.Object { return &appsv1.DaemonSetList{} },
		Columns: append([]column{
			nameColumn(), integer("Desired", doc["desiredNumberScheduled"]), integer("Current", doc["currentNumberScheduled"]),
			integer("Ready", doc["numberReady"]), integer("Up-to-date", doc["updatedNumberScheduled"]),
			integer("Available", doc["numberAvailable"]), str("Node Selector", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *appsv1.DaemonSet, now time.Time) []any {
			pod, s := &o.Spec.Template.Spec, &o.Status
			return []any{
				o.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady),
				int64(s.UpdatedNumberScheduled), int64(s.NumberAvailable), labelsText(pod.NodeSelector), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers), selectorText(o.Spec.Selector),
			}
		}),
	}
}
