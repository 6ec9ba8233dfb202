package admission

import (
	"context"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// systemPriorities are the classes that every cluster has.
var systemPriorities = map[string]int32{
	"system-cluster-critical": 2_000_000_000,
	"system-node-critical":    2_000_001_000,
}

// priority turns a pod's priority class into its number.
func priority() write.Step {
	classes := schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}
	return write.Step{
		Name: "Priority",
		Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
			if r.Ref.Resource != podsResource || r.Subresource != "" || r.Object == nil {
				return nil
			}
			pod := r.Object.(*corev1.Pod)
			if r.Operation == write.OperationUpdate {
				keepPriority(pod, r.Old.(*corev1.Pod))
				return nil
			}
			value, policy, err := classOf(view, r, pod, classes)
			if err != nil {
				return err
			}
			if pod.Spec.Priority != nil && *pod.Spec.Priority != value {
				return forbidden(r, "the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, value)
			}
			if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy != policy {
				return forbidden(r, "the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *pod.Spec.PreemptionPolicy, policy)
			}
			pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
			return nil
		},
		Validate: func(_ context.Context, view txn.View, r *write.Request) error {
			if r.Ref.Resource != classes || r.Object == nil || !r.Object.(*schedulingv1.PriorityClass).GlobalDefault {
				return nil
			}
			if other := globalDefault(view, classes); other != nil && other.Name != r.Ref.Name {
				return forbidden(r, "PriorityClass %v is already marked as default. Only one default can exist", other.Name)
			}
			return nil
		},
	}
}

// keepPriority lets an update leave out what was computed.
func keepPriority(pod, old *corev1.Pod) {
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

func classOf(view txn.View, r *write.Request, pod *corev1.Pod, classes schema.GroupResource) (int32, corev1.PreemptionPolicy, error) {
	var class *schedulingv1.PriorityClass
	if name := pod.Spec.PriorityClassName; name == "" {
		if class = globalDefault(view, classes); class == nil {
			return 0, corev1.PreemptLowerPriority, nil
		}
		pod.Spec.PriorityClassName = class.Name
	} else {
		o, ok := view.Get(txn.Ref{Resource: classes, Name: name})
		if !ok {
			if value, ok := systemPriorities[name]; ok {
				return value, corev1.PreemptLowerPriority, nil
			}
			return 0, "", forbidden(r, "no PriorityClass with name %v was found", name)
		}
		class = o.(*schedulingv1.PriorityClass)
	}
	return class.Value, ptr.Deref(class.PreemptionPolicy, corev1.PreemptLowerPriority), nil
}

// globalDefault is the default class; of several, the one with the lowest
// value, as nobody should gain by a mistake.
func globalDefault(view txn.View, classes schema.GroupResource) *schedulingv1.PriorityClass {
	var found *schedulingv1.PriorityClass
	for o := range view.Each(classes, "") {
		if c := o.(*schedulingv1.PriorityClass); c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found
}
