package admission

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// nodeTokens lets a node have tokens that live and die with one of its own pods
// only: others would outlive the pods that the node was trusted with. That the
// pod runs under the account is checked where the token is made.
func nodeTokens() write.Step {
	return write.Step{Name: "NodeRestriction", Everything: true, Validate: func(_ context.Context, view txn.View, r *write.Request) error {
		request, ok := r.Asked().(*authenticationv1.TokenRequest)
		if !ok {
			return nil
		}
		node, ok := nodeOf(r.Identity)
		if !ok {
			return nil
		}
		ref := request.Spec.BoundObjectRef
		if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
			return forbidden(r, "node requested token not bound to a pod")
		}
		if ref.UID == "" {
			return forbidden(r, "node requested token with a pod binding without a uid")
		}
		o, _ := view.Get(txn.Ref{Resource: podsResource, Namespace: r.Ref.Namespace, Name: ref.Name})
		pod, ok := o.(*corev1.Pod)
		if !ok || pod.UID != ref.UID || pod.Spec.NodeName != node {
			return forbidden(r, "node requested token bound to a pod scheduled on a different node")
		}
		return nil
	}}
}
