package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// tolerated is how long, in seconds, pods stay on a node that is not ready or
// unreachable unless they say otherwise.
const tolerated = 300

// defaultTolerations lets pods outlast short troubles of their node.
func defaultTolerations() write.Step {
	return write.Step{Name: "DefaultTolerationSeconds", Mutate: func(_ context.Context, _ txn.View, r *write.Request) error {
		// An update that leaves them out gets them again: they may not be taken away.
		update := r.Operation == write.OperationUpdate && r.Subresource == "" && r.Ref.Resource == podsResource && r.Object != nil
		if !update && !creates(r, podsResource) {
			return nil
		}
		pod := r.Object.(*corev1.Pod)
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			if !slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool { return tolerates(t, key) }) {
				pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
					Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](tolerated),
				})
			}
		}
		return nil
	}}
}

// tolerates tells whether a toleration says something about the taint already.
func tolerates(t corev1.Toleration, key string) bool {
	return (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
}
