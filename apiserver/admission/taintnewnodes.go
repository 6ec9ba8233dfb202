package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// taintNewNodes keeps pods off a node until it was seen to be ready.
func taintNewNodes() write.Step {
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	return write.Step{Name: "TaintNodesByCondition", Mutate: func(_ context.Context, _ txn.View, r *write.Request) error {
		if !creates(r, nodesResource) {
			return nil
		}
		node := r.Object.(*corev1.Node)
		if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
			node.Spec.Taints = append(node.Spec.Taints, taint)
		}
		return nil
	}}
}
