package drift

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// replicas is the field that autoscalers look after.
const replicas = "spec.replicas"

var autoscalers = schema.GroupResource{Group: autoscalingv2.GroupName, Resource: "horizontalpodautoscalers"}

// IsReplicas tells the field that autoscalers look after.
func IsReplicas(path string) bool { return path == replicas }

// Scaled tells whether an autoscaler looks after an object's replicas, which
// are then no matter of git.
func Scaled(view txn.View, e *plan.Entry) bool {
	if e.Namespace == "" {
		return false // an autoscaler and its target share a namespace
	}
	for o := range view.Each(autoscalers, e.Namespace) {
		kind, name, apiVersion := target(o)
		if kind == e.Kind && name == e.Name && schema.FromAPIVersionAndKind(apiVersion, "").Group == e.Group {
			return true
		}
	}
	return false
}

// target is what an autoscaler, in whatever version, looks after.
func target(o txn.Object) (kind, name, apiVersion string) {
	if h, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok {
		t := h.Spec.ScaleTargetRef
		return t.Kind, t.Name, t.APIVersion
	}
	h, err := content(o)
	if err != nil {
		return "", "", ""
	}
	t, _, _ := unstructured.NestedStringMap(h, "spec", "scaleTargetRef") // none is nothing's
	return t["kind"], t["name"], t["apiVersion"]
}
