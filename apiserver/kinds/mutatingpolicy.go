package kinds

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func mutatingAdmissionPolicyKind() *kind.Kind {
	return &kind.Kind{
		GVK:           admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy"),
		Plural:        "mutatingadmissionpolicies",
		Singular:      "mutatingadmissionpolicy",
		Categories:    []string{"api-extensions"},
		StoragePrefix: "mutatingadmissionpolicies",
		New:           func() txn.Object { return &admissionv1.MutatingAdmissionPolicy{} },
		NewList:       func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyList{} },
		Default: defaults(func(o *admissionv1.MutatingAdmissionPolicy) {
			setDefaultPtr(&o.Spec.FailurePolicy, admissionv1.Fail)
			setDefault(&o.Spec.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
			defaultMatchResources(o.Spec.MatchConstraints)
		}),
		Prepare: prepare(func(o, old *admissionv1.MutatingAdmissionPolicy) {
			countSpecs(o, untyped(old), &o.Spec, func() any { return &old.Spec })
		}),
		PlainFinalizers: true,
		Validate:        validate(checkMutatingPolicy),
		Columns: []column{
			nameColumn(), integer("Mutations", "Mutations indicates the number of mutation rules defined in this configuration"),
			str("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"), ageColumn(),
		},
		Row: row(func(o *admissionv1.MutatingAdmissionPolicy, now time.Time) []any {
			param := unset
			if k := o.Spec.ParamKind; k != nil {
				param = k.APIVersion + "/" + k.Kind
			}
			return []any{o.Name, int64(len(o.Spec.Mutations)), param, age(o, now)}
		}),
	}
}

func mutatingAdmissionPolicyBindingKind() *kind.Kind {
	return &kind.Kind{
		GVK:           admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicyBinding"),
		Plural:        "mutatingadmissionpolicybindings",
		Singular:      "mutatingadmissionpolicybinding",
		Categories:    []string{"api-extensions"},
		StoragePrefix: "mutatingadmissionpolicybindings",
		New:           func() txn.Object { return &admissionv1.MutatingAdmissionPolicyBinding{} },
		NewList:       func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyBindingList{} },
		Default: defaults(func(o *admissionv1.MutatingAdmissionPolicyBinding) {
			defaultMatchResources(o.Spec.MatchResources)
		}),
		Prepare: prepare(func(o, old *admissionv1.MutatingAdmissionPolicyBinding) {
			countSpecs(o, untyped(old), &o.Spec, func() any { return &old.Spec })
		}),
		PlainFinalizers: true,
		Validate:        validate(checkMutatingBinding),
		Indexes: map[string]func(txn.Object) []string{
			IndexPolicy: values(func(o *admissionv1.MutatingAdmissionPolicyBinding) []string { return []string{o.Spec.PolicyName} }),
		},
		Columns: []column{
			nameColumn(), str("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
			str("ParamRef", "ParamRef indicates the param resource which sets the configration param"), ageColumn(),
		},
		Row: row(func(o *admissionv1.MutatingAdmissionPolicyBinding, now time.Time) []any {
			return []any{o.Name, o.Spec.PolicyName, paramText(o.Spec.ParamRef), age(o, now)}
		}),
	}
}
