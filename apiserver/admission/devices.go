package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// devices notes when devices were tainted, and lets only namespaces that are
// marked for it have devices that somebody else is using.
func devices() write.Step {
	return write.Step{
		Name: "Devices",
		Mutate: func(_ context.Context, _ txn.View, r *write.Request) error {
			if slice, ok := r.Object.(*resourcev1.ResourceSlice); ok && r.Subresource == "" {
				noteTaints(slice, r)
			}
			return nil
		},
		Validate: func(_ context.Context, view txn.View, r *write.Request) error {
			if r.Operation != write.OperationCreate || r.Subresource != "" {
				return nil // both kinds' specs never change
			}
			at := field.NewPath("spec")
			switch o := r.Object.(type) {
			case *resourcev1.ResourceClaim:
				return adminAccess(view, r, at, &o.Spec)
			case *resourcev1.ResourceClaimTemplate:
				return adminAccess(view, r, at.Child("spec"), &o.Spec.Spec)
			}
			return nil
		},
	}
}

func noteTaints(slice *resourcev1.ResourceSlice, r *write.Request) {
	for i := range slice.Spec.Devices {
		for j := range slice.Spec.Devices[i].Taints {
			if t := &slice.Spec.Devices[i].Taints[j]; t.TimeAdded == nil {
				t.TimeAdded = &metav1.Time{Time: r.Now.UTC().Truncate(1e9)}
			}
		}
	}
}

func adminAccess(view txn.View, r *write.Request, p *field.Path, spec *resourcev1.ResourceClaimSpec) error {
	namespace := txn.Ref{Resource: corev1.Resource("namespaces"), Name: r.Ref.Namespace}
	var errs field.ErrorList
	for i := range spec.Devices.Requests {
		e := spec.Devices.Requests[i].Exactly
		if e == nil || !ptr.Deref(e.AdminAccess, false) {
			continue
		}
		r.Decide(namespace)
		if ns, ok := view.Get(namespace); !ok || ns.GetLabels()[resourcev1.DRAAdminNamespaceLabelKey] != "true" {
			errs = append(errs, field.Forbidden(p.Child("devices", "requests").Index(i).Child("exactly", "adminAccess"),
				"admin access to devices requires the `"+resourcev1.DRAAdminNamespaceLabelKey+": true` label on the containing namespace"))
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(r.Kind.GVK.GroupKind(), r.Ref.Name, errs)
	}
	return nil
}
