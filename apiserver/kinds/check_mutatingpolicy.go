package kinds

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/apiserver/expression"
)

func checkMutatingPolicy(o, old *admissionv1.MutatingAdmissionPolicy) fieldErrors {
	c, p, s := &policyChecker{}, field.NewPath("spec"), &o.Spec
	c.rememberMutating(old)
	c.begin(p, s.FailurePolicy, s.ParamKind, len(s.Variables) > 0)
	if s.MatchConstraints == nil {
		c.required(p.Child("matchConstraints"), "")
	} else {
		c.mutable(p.Child("matchConstraints"), s.MatchConstraints)
	}
	if old == nil || !equality.Semantic.DeepEqual(s.ParamKind, old.Spec.ParamKind) || !equality.Semantic.DeepEqual(s.MatchConditions, old.Spec.MatchConditions) {
		c.matchConditions(p.Child("matchConditions"), s.MatchConditions, c.by, c.conditions)
	}
	for i := range s.Variables {
		c.variable(p.Child("variables").Index(i), &s.Variables[i])
	}
	if len(s.Mutations) == 0 {
		c.required(p.Child("mutations"), "mutations must contain at least one item")
	}
	for i := range s.Mutations {
		c.mutation(p.Child("mutations").Index(i), &s.Mutations[i])
	}
	if s.ReinvocationPolicy == "" {
		c.required(p.Child("reinvocationPolicy"), "")
	} else {
		oneOfPtr(&c.checker, p, "reinvocationPolicy", &s.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy, admissionv1.IfNeededReinvocationPolicy)
	}
	return c.errs
}

func (c *policyChecker) rememberMutating(old *admissionv1.MutatingAdmissionPolicy) {
	c.remember(nil)
	if old == nil {
		return
	}
	for _, m := range old.Spec.MatchConditions {
		c.conditions[m.Expression] = true
	}
	for _, v := range old.Spec.Variables {
		c.validations[v.Expression] = true
	}
	for _, m := range old.Spec.Mutations {
		if m.ApplyConfiguration != nil {
			c.validations[m.ApplyConfiguration.Expression] = true
		}
		if m.JSONPatch != nil {
			c.validations[m.JSONPatch.Expression] = true
		}
	}
}

// mutable checks what a policy is about: a deletion has nothing to be changed.
func (c *policyChecker) mutable(p *path, m *admissionv1.MatchResources) {
	c.matchResources(p, m)
	if len(m.ResourceRules) == 0 {
		c.required(p.Child("resourceRules"), "")
	}
	for i := range m.ResourceRules {
		for j, operation := range m.ResourceRules[i].Operations {
			if operation == admissionv1.Delete {
				c.add(field.NotSupported(p.Child("resourceRules").Index(i).Child("operations").Index(j), operation,
					[]admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update}))
			}
		}
	}
}

func (c *policyChecker) mutation(p *path, m *admissionv1.Mutation) {
	if m.PatchType == "" {
		c.required(p.Child("patchType"), "")
		return
	}
	apply, patch := p.Child("applyConfiguration"), p.Child("jsonPatch")
	switch m.PatchType {
	case admissionv1.PatchTypeApplyConfiguration:
		if m.JSONPatch != nil {
			c.forbidden(patch, "must not be specified when patchType is ApplyConfiguration")
		}
		if m.ApplyConfiguration == nil {
			c.required(apply, "must be specified when patchType is ApplyConfiguration")
			return
		}
		c.changes(apply, m.ApplyConfiguration.Expression, c.by.ApplyConfiguration)
	case admissionv1.PatchTypeJSONPatch:
		if m.ApplyConfiguration != nil {
			c.forbidden(apply, "must not be specified when patchType is JSONPatch")
		}
		if m.JSONPatch == nil {
			c.required(patch, "must be specified when patchType is JSONPatch")
			return
		}
		c.changes(patch, m.JSONPatch.Expression, c.by.JSONPatch)
	default:
		oneOfPtr(&c.checker, p, "patchType", &m.PatchType, admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
	}
}

func (c *policyChecker) changes(p *path, text string, compile expression.Compile) {
	if strings.TrimSpace(text) == "" {
		c.required(p.Child("expression"), "expression is not specified")
		return
	}
	c.compiles(p.Child("expression"), text, compile(text, c.validations[text]))
}

func checkMutatingBinding(o, _ *admissionv1.MutatingAdmissionPolicyBinding) fieldErrors {
	c, p, s := &checker{}, field.NewPath("spec"), &o.Spec
	c.bound(p, s.PolicyName, s.ParamRef, s.MatchResources)
	return c.errs
}
