package admission

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// runtimeClass gives a pod what its runtime class says of overhead and nodes,
// and refuses one whose class does not exist.
func runtimeClass() write.Step {
	classes := schema.GroupResource{Group: nodev1.GroupName, Resource: "runtimeclasses"}
	return write.Step{Name: "RuntimeClass", Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
		if !creates(r, podsResource) {
			return nil
		}
		pod := r.Object.(*corev1.Pod)
		class := &nodev1.RuntimeClass{}
		if name := pod.Spec.RuntimeClassName; name != nil {
			o, ok := view.Get(txn.Ref{Resource: classes, Name: *name})
			if !ok {
				return forbidden(r, "pod rejected: RuntimeClass %q not found", *name)
			}
			class = o.(*nodev1.RuntimeClass)
		}
		var overhead corev1.ResourceList
		if class.Overhead != nil {
			overhead = class.Overhead.PodFixed
		}
		if len(pod.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(pod.Spec.Overhead, overhead) {
			if class.Name == "" {
				return forbidden(r, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
			}
			return forbidden(r, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
		}
		if len(overhead) > 0 {
			pod.Spec.Overhead = overhead.DeepCopy()
		}
		return placeByClass(r, pod, class.Scheduling)
	}}
}

// placeByClass narrows a pod to the nodes that its class supports.
func placeByClass(r *write.Request, pod *corev1.Pod, s *nodev1.Scheduling) error {
	if s == nil {
		return nil
	}
	for k, v := range s.NodeSelector {
		if have, ok := pod.Spec.NodeSelector[k]; ok && have != v {
			return forbidden(r, "conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", k, v, k, have)
		}
	}
	if len(s.NodeSelector) > 0 {
		if pod.Spec.NodeSelector == nil {
			pod.Spec.NodeSelector = map[string]string{}
		}
		maps.Copy(pod.Spec.NodeSelector, s.NodeSelector)
	}
	for _, t := range s.Tolerations {
		if !hasToleration(pod.Spec.Tolerations, t) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, *t.DeepCopy())
		}
	}
	return nil
}

func hasToleration(all []corev1.Toleration, t corev1.Toleration) bool {
	for i := range all {
		if equality.Semantic.DeepEqual(all[i], t) {
			return true
		}
	}
	return false
}
