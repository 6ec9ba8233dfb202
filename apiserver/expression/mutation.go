package expression

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Compile checks an expression; stored says that it was accepted before.
type Compile func(text string, stored bool) *apiservercel.Error

// ApplyConfiguration checks an expression that must be an Object.
func (c *Checker) ApplyConfiguration(text string, stored bool) *apiservercel.Error {
	return c.compiler.CompileCELExpression(&patch.ApplyConfigurationCondition{Expression: text}, patches(c.params), mode(stored)).Error
}

// JSONPatch checks an expression that must be a list of JSONPatch.
func (c *Checker) JSONPatch(text string, stored bool) *apiservercel.Error {
	return c.compiler.CompileCELExpression(&patch.JSONPatchCondition{Expression: text}, patches(c.params), mode(stored)).Error
}

func patches(params bool) plugincel.OptionalVariableDeclarations {
	d := declarations(params, true)
	d.HasPatchTypes = true
	return d
}

// Mutations are a compiled MutatingAdmissionPolicy.
type Mutations struct {
	compiler *plugincel.CompositedCompiler
	matches  *Conditions // nil: there are no conditions
	patchers []patch.Patcher
}

// CompileMutations compiles the expressions of a policy. What does not compile
// fails when it is asked.
func CompileMutations(spec *admissionv1.MutatingAdmissionPolicySpec) *Mutations {
	m := &Mutations{compiler: composed()}
	declared := declarations(spec.ParamKind != nil, true)
	for _, v := range spec.Variables {
		m.compiler.CompileAndStoreVariable(variable(v.Name, v.Expression), declared, environment.StoredExpressions)
	}
	if len(spec.MatchConditions) > 0 {
		accessors := make([]plugincel.ExpressionAccessor, len(spec.MatchConditions))
		for i, s := range conditions(spec.MatchConditions) {
			accessors[i] = s
		}
		m.matches = &Conditions{evaluator: m.compiler.CompileCondition(accessors, declared, environment.StoredExpressions)}
	}
	for _, mutation := range spec.Mutations {
		switch {
		case mutation.PatchType == admissionv1.PatchTypeJSONPatch && mutation.JSONPatch != nil:
			m.patchers = append(m.patchers, patch.NewJSONPatcher(m.compiler.CompileMutatingEvaluator(
				&patch.JSONPatchCondition{Expression: mutation.JSONPatch.Expression}, patches(declared.HasParams), environment.StoredExpressions)))
		case mutation.PatchType == admissionv1.PatchTypeApplyConfiguration && mutation.ApplyConfiguration != nil:
			m.patchers = append(m.patchers, patch.NewApplyConfigurationPatcher(m.compiler.CompileMutatingEvaluator(
				&patch.ApplyConfigurationCondition{Expression: mutation.ApplyConfiguration.Expression}, patches(declared.HasParams), environment.StoredExpressions)))
		}
	}
	return m
}

// Matches tells whether the policy's conditions are true of a request.
func (m *Mutations) Matches(ctx context.Context, in Input) (bool, error) {
	if m.matches == nil {
		return true, nil
	}
	return m.matches.Match(m.compiler.CreateContext(ctx), in.Attributes, in.Params, in.Authorizer)
}

// Len is how many mutations there are.
func (m *Mutations) Len() int { return len(m.patchers) }

// Mutate gives the request's object as one of the mutations leaves it; the
// object itself is not changed. Types knows how the object's lists and maps are
// merged, interfaces how it is decoded.
func (m *Mutations) Mutate(ctx context.Context, mutation int, in Input, types managedfields.TypeConverter, interfaces admission.ObjectInterfaces) (runtime.Object, error) {
	o, err := m.patchers[mutation].Patch(m.compiler.CreateContext(ctx), patch.Request{
		MatchedResource: in.Resource, VersionedAttributes: in.Attributes, ObjectInterfaces: interfaces,
		OptionalVariables: plugincel.OptionalVariableBindings{VersionedParams: in.Params, Authorizer: in.Authorizer},
		Namespace:         plugincel.CreateNamespaceObject(in.Namespace), TypeConverter: types,
	}, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, fmt.Errorf("mutation %d leaves no object", mutation)
	}
	return o, nil
}

// FailureOf tells what kind of failure an error of an evaluation is, in the
// words of Kubernetes' metrics.
func FailureOf(err error) string { return failureOf(err) }
