package expression

import (
	"context"
	"errors"

	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Conditions are compiled match conditions: all of them must be true.
type Conditions struct {
	evaluator plugincel.ConditionEvaluator
}

// CompileConditions compiles the match conditions of a webhook. What does not
// compile fails when it is asked.
func CompileConditions(list []admissionv1.MatchCondition) *Conditions {
	evaluator := plugincel.NewCondition(nil)
	if len(list) > 0 {
		evaluator = plugincel.NewCondition(compileAll(plain(), conditions(list), declarations(false, true)))
	}
	return &Conditions{evaluator: evaluator}
}

func conditions(list []admissionv1.MatchCondition) []*source {
	out := make([]*source, len(list))
	for i, m := range list {
		out[i] = condition(m.Name, m.Expression)
	}
	return out
}

func compileAll(by plugincel.Compiler, list []*source, declared plugincel.OptionalVariableDeclarations) []plugincel.CompilationResult {
	out := make([]plugincel.CompilationResult, len(list))
	for i, s := range list {
		if s != nil {
			out[i] = by.CompileCELExpression(s, declared, environment.StoredExpressions)
		}
	}
	return out
}

// Match tells whether all conditions are true of a request. One that is false
// settles it; without one, the error says which could not be evaluated.
func (c *Conditions) Match(ctx context.Context, a *admission.VersionedAttributes, params runtime.Object, who authorizer.UnconditionalAuthorizer) (bool, error) {
	request := plugincel.CreateAdmissionRequest(a.Attributes, metav1.GroupVersionResource(a.GetResource()), metav1.GroupVersionKind(a.VersionedKind))
	bound := plugincel.OptionalVariableBindings{VersionedParams: params, Authorizer: who}
	results, _, err := c.evaluator.ForInput(ctx, a, request, bound, nil, celconfig.RuntimeCELCostBudgetMatchConditions)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, r := range results {
		if r.Error != nil {
			errs = append(errs, r.Error)
		} else if r.EvalResult == celtypes.False {
			return false, nil
		}
	}
	return len(errs) == 0, errors.Join(errs...)
}
