package kinds

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func deploymentKind() *kind.Kind {
	doc := appsv1.DeploymentStatus{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Plural:        "deployments",
		Singular:      "deployment",
		ShortNames:    []string{"deploy"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "deployments",
		New:           func() txn.Object { return &appsv1.Deployment{} },
		NewList:       func() runtime.Object { return &appsv1.DeploymentList{} },
		Columns: append([]column{
			nameColumn(), str("Ready", "Number of the pod with ready state"), str("Up-to-date", doc["updatedReplicas"]),
			str("Available", doc["availableReplicas"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *appsv1.Deployment, now time.Time) []any {
			pod := &o.Spec.Template.Spec
			return []any{
				o.Name, fmt.Sprintf("%d/%d", o.Status.ReadyReplicas, deref(o.Spec.Replicas, 0)), int64(o.Status.UpdatedReplicas),
				int64(o.Status.AvailableReplicas), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers), selectorText(o.Spec.Selector),
			}
		}),
	}
}
