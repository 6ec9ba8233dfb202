package admission

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// topologyLabels gives a pod the labels that say where its node is, when it is
// bound: the pod can then read them of itself (KEP-4742).
func topologyLabels() write.Step {
	where := []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}
	return write.Step{Name: "PodTopologyLabels", Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
		pod, ok := r.Object.(*corev1.Pod)
		if !ok || r.Subresource != "binding" || pod.Spec.NodeName == "" {
			return nil
		}
		node, ok := view.Get(txn.Ref{Resource: nodesResource, Name: pod.Spec.NodeName})
		if !ok {
			return nil // it may join later, or never
		}
		labels := map[string]string{}
		for _, name := range where {
			if value, ok := node.GetLabels()[name]; ok {
				labels[name] = value
			}
		}
		if len(labels) > 0 {
			own := maps.Clone(pod.Labels) // which may be shared with the stored pod
			if own == nil {
				own = map[string]string{}
			}
			maps.Copy(own, labels)
			pod.Labels = own
		}
		return nil
	}}
}
