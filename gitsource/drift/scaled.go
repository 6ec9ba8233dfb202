package drift

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// replicas is the field that autoscalers look after.
const replicas = "spec.replicas"

var autoscalers = schema.GroupResource{Group: "autoscaling", Resource: "horizontalpodautoscalers"}

// IsReplicas tells the field that autoscalers look after.
func IsReplicas(path string) bool { return path == replicas }

// Scaled tells whether an autoscaler looks after an object's replicas, which
// are then no matter of git.
func Scaled(view txn.View, e *plan.Entry) bool {
	for o := range view.Each(autoscalers, e.Namespace) {
		// All versions of the kind agree on the target.
		h, err := content(o)
		if err != nil {
			continue
		}
		target, _, _ := unstructured.NestedStringMap(h, "spec", "scaleTargetRef")
		if target["kind"] == e.Kind && target["name"] == e.Name && schema.FromAPIVersionAndKind(target["apiVersion"], "").Group == e.Group {
			return true
		}
	}
	return false
}
