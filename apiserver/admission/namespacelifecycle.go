package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// immortal namespaces cannot be deleted.
var immortal = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}

// namespaceLifecycle lets objects be created only in namespaces that exist and
// are not terminating.
func namespaceLifecycle() write.Step {
	namespaces := corev1.Resource("namespaces")
	return write.Step{
		Name: "NamespaceLifecycle",
		Mutate: func(_ context.Context, view txn.View, r *write.Request) error {
			if r.Operation == write.OperationDelete && r.Ref.Resource == namespaces && slices.Contains(immortal, r.Ref.Name) {
				return forbidden(r, "this namespace may not be deleted")
			}
			if r.Operation != write.OperationCreate || r.Subresource != "" || !r.Kind.Namespaced {
				return nil
			}
			ref := txn.Ref{Resource: namespaces, Name: r.Ref.Namespace}
			o, ok := view.Get(ref)
			if !ok {
				return apierrors.NewNotFound(namespaces, ref.Name)
			}
			if ns := o.(*corev1.Namespace); ns.Status.Phase == corev1.NamespaceTerminating || ns.DeletionTimestamp != nil {
				return terminating(r)
			}
			r.Decide(ref)
			return nil
		},
	}
}

func terminating(r *write.Request) error {
	err := apierrors.NewForbidden(r.Ref.Resource, r.Ref.Name,
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.Ref.Namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", r.Ref.Namespace),
		Field:   "metadata.namespace",
	})
	return err
}
