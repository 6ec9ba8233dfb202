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
	case *admissionv1.ValidatingAdmissionPolicy:
		old, _ := r.Old.(*admissionv1.ValidatingAdmissionPolicy)
		if o.Spec.ParamKind == nil || old != nil && equality.Semantic.DeepEqual(old.Spec.ParamKind, o.Spec.ParamKind) {
			return nil
		}
		if !p.may(view, r, "get", *o.Spec.ParamKind, "*", "*") {
			return withoutRight(r, "paramKind", fmt.Sprintf("user %v must have %q permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)",
				r.Identity.Name, "get", o.Spec.ParamKind.Kind, o.Spec.ParamKind.APIVersion))
		}
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		old, _ := r.Old.(*admissionv1.ValidatingAdmissionPolicyBinding)
		if o.Spec.ParamRef == nil || old != nil && equality.Semantic.DeepEqual(old.Spec.ParamRef, o.Spec.ParamRef) && old.Spec.PolicyName == o.Spec.PolicyName {
			return nil
		}
		return p.mayBind(view, r, o)
	}
	return nil
}

func (p *Policies) mayBind(view txn.View, r *write.Request, o *admissionv1.ValidatingAdmissionPolicyBinding) error {
	ref := o.Spec.ParamRef
	param := admissionv1.ParamKind{APIVersion: "*", Kind: "*"} // the policy may come later
	if found, ok := view.Get(txn.Ref{Resource: policies, Name: o.Spec.PolicyName}); ok {
		k := found.(*admissionv1.ValidatingAdmissionPolicy).Spec.ParamKind
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
