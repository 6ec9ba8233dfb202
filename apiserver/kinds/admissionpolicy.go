package kinds

import (
	"cmp"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// IndexPolicy finds ValidatingAdmissionPolicyBindings by their policy's name.
const IndexPolicy = "spec.policyName"

func validatingAdmissionPolicyKind() *kind.Kind {
	p := partsOf(func(o *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ValidatingAdmissionPolicySpec {
		return &o.Spec
	},
		func(o *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ValidatingAdmissionPolicyStatus {
			return &o.Status
		})
	return &kind.Kind{
		GVK:           admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"),
		Plural:        "validatingadmissionpolicies",
		Singular:      "validatingadmissionpolicy",
		Categories:    []string{"api-extensions"},
		StoragePrefix: "validatingadmissionpolicies",
		New:           func() txn.Object { return &admissionv1.ValidatingAdmissionPolicy{} },
		NewList:       func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyList{} },
		Default: defaults(func(o *admissionv1.ValidatingAdmissionPolicy) {
			setDefaultPtr(&o.Spec.FailurePolicy, admissionv1.Fail)
			defaultMatchResources(o.Spec.MatchConstraints)
		}),
		Prepare:         p.main,
		Subresources:    map[string]kind.Subresource{"status": p.bareStatusSubresource(checkPolicyStatus)},
		PlainFinalizers: true,
		Validate:        validate(checkAdmissionPolicy),
		Columns: []column{
			nameColumn(), integer("Validations", "Validations indicates the number of validation rules defined in this configuration"),
			str("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"), ageColumn(),
		},
		Row: row(func(o *admissionv1.ValidatingAdmissionPolicy, now time.Time) []any {
			param := unset
			if k := o.Spec.ParamKind; k != nil {
				param = k.APIVersion + "/" + k.Kind
			}
			return []any{o.Name, int64(len(o.Spec.Validations)), param, age(o, now)}
		}),
	}
}

func validatingAdmissionPolicyBindingKind() *kind.Kind {
	return &kind.Kind{
		GVK:           admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding"),
		Plural:        "validatingadmissionpolicybindings",
		Singular:      "validatingadmissionpolicybinding",
		Categories:    []string{"api-extensions"},
		StoragePrefix: "validatingadmissionpolicybindings",
		New:           func() txn.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} },
		NewList:       func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyBindingList{} },
		Default: defaults(func(o *admissionv1.ValidatingAdmissionPolicyBinding) {
			defaultMatchResources(o.Spec.MatchResources)
		}),
		Prepare: prepare(func(o, old *admissionv1.ValidatingAdmissionPolicyBinding) {
			countSpecs(o, untyped(old), &o.Spec, func() any { return &old.Spec })
		}),
		PlainFinalizers: true,
		Validate:        validate(checkPolicyBinding),
		Indexes: map[string]func(txn.Object) []string{
			IndexPolicy: values(func(o *admissionv1.ValidatingAdmissionPolicyBinding) []string { return []string{o.Spec.PolicyName} }),
		},
		Columns: []column{
			nameColumn(), str("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
			str("ParamRef", "ParamRef indicates the param resource which sets the configration param"), ageColumn(),
		},
		Row: row(func(o *admissionv1.ValidatingAdmissionPolicyBinding, now time.Time) []any {
			return []any{o.Name, o.Spec.PolicyName, paramText(o.Spec.ParamRef), age(o, now)}
		}),
	}
}

func paramText(ref *admissionv1.ParamRef) string {
	switch {
	case ref == nil:
		return unset
	case ref.Selector != nil:
		return selectorText(ref.Selector)
	}
	return cmp.Or(ref.Namespace, "*") + "/" + ref.Name
}

func defaultMatchResources(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	setDefaultPtr(&m.MatchPolicy, admissionv1.Equivalent)
	setDefaultPtr(&m.NamespaceSelector, metav1.LabelSelector{})
	setDefaultPtr(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			setDefaultPtr(&rules[i].Scope, admissionv1.AllScopes)
		}
	}
}
