package policy

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// Rights is the step that lets only those make a policy or binding who may read
// its params: what a policy does with them tells about them.
func (p *Policies) Rights() write.Step {
	s := write.Step{Name: "ValidatingAdmissionPolicyRights"}
	if p != nil {
		s.Validate = p.rights
	}
	return s
}

func (p *Policies) rights(_ context.Context, view txn.View, r *write.Request) error {
	if r.Subresource != "" {
		return nil
	}
	switch o := r.Object.(type) {
	case *admissionv1.ValidatingAdmissionPolicy, *admissionv1.MutatingAdmissionPolicy:
		k := paramKindOf(o)
		if k == nil || r.Old != nil && equality.Semantic.DeepEqual(paramKindOf(r.Old), k) {
			return nil
		}
		if !p.may(view, r, "get", *k, "*", "*") {
			return withoutRight(r, "paramKind", fmt.Sprintf("user %v must have %q permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)",
				r.Identity.Name, "get", k.Kind, k.APIVersion))
		}
	case *admissionv1.ValidatingAdmissionPolicyBinding, *admissionv1.MutatingAdmissionPolicyBinding:
		policy, ref := bound(o)
		if ref == nil {
			return nil
		}
		if r.Old != nil {
			if hadPolicy, had := bound(r.Old); hadPolicy == policy && equality.Semantic.DeepEqual(had, ref) {
				return nil
			}
		}
		return p.mayBind(view, r, policy, ref)
	}
	return nil
}

// paramKindOf is what a policy of either kind takes params of.
func paramKindOf(o txn.Object) *admissionv1.ParamKind {
	switch o := o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return o.Spec.ParamKind
	case *admissionv1.MutatingAdmissionPolicy:
		return o.Spec.ParamKind
	}
	return nil
}

// bound is which policy a binding of either kind binds to which params.
func bound(o txn.Object) (txn.Ref, *admissionv1.ParamRef) {
	switch o := o.(type) {
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		return txn.Ref{Resource: policies, Name: o.Spec.PolicyName}, o.Spec.ParamRef
	case *admissionv1.MutatingAdmissionPolicyBinding:
		return txn.Ref{Resource: mutatingPolicies, Name: o.Spec.PolicyName}, o.Spec.ParamRef
	}
	return txn.Ref{}, nil
}

func (p *Policies) mayBind(view txn.View, r *write.Request, policy txn.Ref, ref *admissionv1.ParamRef) error {
	param := admissionv1.ParamKind{APIVersion: "*", Kind: "*"} // the policy may come later
	if found, ok := view.Get(policy); ok {
		k := paramKindOf(found)
		if k == nil {
			return nil // the reference is not used
		}
		param = *k
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = "*"
	}
	if ref.Selector != nil {
		if p.may(view, r, "list", param, namespace, "*") {
			return nil
		}
		return withoutRight(r, "paramRef", fmt.Sprintf("user %v must have %q permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)",
			r.Identity.Name, "list", param.Kind, param.APIVersion))
	}
	if p.may(view, r, "get", param, namespace, ref.Name) {
		return nil
	}
	return withoutRight(r, "paramRef", fmt.Sprintf("user %v does not have %q permission on the object referenced by paramRef", r.Identity.Name, "get"))
}

func (p *Policies) may(view txn.View, r *write.Request, verb string, k admissionv1.ParamKind, namespace, name string) bool {
	gvk := schema.FromAPIVersionAndKind(k.APIVersion, k.Kind)
	wanted := write.Attributes{Verb: verb, Resource: schema.GroupResource{Group: gvk.Group, Resource: "*"}, Version: gvk.Version, Namespace: namespace, Name: name}
	if row, ok := p.ByGVK(view, gvk); ok {
		wanted.Resource = row.Served()
		if !row.Namespaced {
			wanted.Namespace = ""
		}
	}
	return p.Authorizer.Authorize(view, r.Identity, wanted).Allowed
}

func withoutRight(r *write.Request, name, why string) error {
	return apierrors.NewInvalid(r.Kind.GVK.GroupKind(), r.Ref.Name, field.ErrorList{field.Forbidden(field.NewPath("spec", name), why)})
}
