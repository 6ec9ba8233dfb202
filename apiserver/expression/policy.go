package expression

import (
	"context"
	"errors"
	"fmt"
	"strings"

	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Policy is a compiled ValidatingAdmissionPolicy.
type Policy struct {
	open        bool // what cannot be evaluated lets the request pass
	validations []admissionv1.Validation
	keys        []string // of the audit annotations

	matches     *Conditions
	checks      plugincel.ConditionEvaluator
	messages    plugincel.ConditionEvaluator
	annotations plugincel.ConditionEvaluator
}

// CompilePolicy compiles the expressions of a policy. What does not compile
// fails when it is asked, as the failure policy says.
func CompilePolicy(spec *admissionv1.ValidatingAdmissionPolicySpec) *Policy {
	p := &Policy{open: spec.FailurePolicy != nil && *spec.FailurePolicy == admissionv1.Ignore, validations: spec.Validations}
	compile := func(list []*source, authorizer bool) plugincel.ConditionEvaluator {
		return plugincel.NewCondition(compileAll(plain(), list, declarations(spec.ParamKind != nil, authorizer)))
	}
	if len(spec.Variables) > 0 {
		by := composed()
		for _, v := range spec.Variables {
			by.CompileAndStoreVariable(variable(v.Name, v.Expression), declarations(spec.ParamKind != nil, true), environment.StoredExpressions)
		}
		compile = func(list []*source, authorizer bool) plugincel.ConditionEvaluator {
			accessors := make([]plugincel.ExpressionAccessor, len(list))
			for i, s := range list {
				if s != nil {
					accessors[i] = s
				}
			}
			return by.CompileCondition(accessors, declarations(spec.ParamKind != nil, authorizer), environment.StoredExpressions)
		}
	}
	if len(spec.MatchConditions) > 0 {
		p.matches = &Conditions{evaluator: compile(conditions(spec.MatchConditions), true)}
	}
	checks, messages := make([]*source, len(spec.Validations)), make([]*source, len(spec.Validations))
	for i, v := range spec.Validations {
		checks[i] = condition("", v.Expression)
		if v.MessageExpression != "" {
			messages[i] = message(v.MessageExpression)
		}
	}
	p.checks, p.messages = compile(checks, true), compile(messages, false)
	var values []*source
	for _, a := range spec.AuditAnnotations {
		p.keys = append(p.keys, a.Key)
		values = append(values, auditAnnotation(a.Key, a.ValueExpression))
	}
	p.annotations = compile(values, true)
	return p
}

// Input is what a policy judges.
type Input struct {
	Attributes *admission.VersionedAttributes
	// Resource is what the policy's rules are about: that of the request or an
	// equivalent one.
	Resource   schema.GroupVersionResource
	Params     runtime.Object    // nil for none
	Namespace  *corev1.Namespace // nil for what is in none
	Authorizer authorizer.UnconditionalAuthorizer
}

// Denial is one expression that is not true of the request.
type Denial struct {
	// Expression is its index among the policy's validations.
	Expression int
	Message    string
	// Reason is empty when the expression could not be evaluated.
	Reason metav1.StatusReason
	// Failure is why it could not, in the words of Kubernetes' metrics.
	Failure string
}

// Values of Denial.Failure.
const (
	NoFailure   = "no_error"
	notCompiled = "compile_error"
	outOfBudget = "out_of_budget"
	invalid     = "invalid_error"
)

// failureOf tells what kind of failure an error of the evaluator is.
func failureOf(err error) string {
	switch {
	case errors.Is(err, apiservercel.ErrOutOfBudget):
		return outOfBudget
	case errors.Is(err, apiservercel.ErrCompilation):
		return notCompiled
	}
	return invalid
}

// Annotation is one audit annotation of a policy; its key lacks the policy's name.
type Annotation struct{ Key, Value string }

// Evaluate judges a request. What cannot be evaluated is a denial, unless the
// policy ignores failures.
func (p *Policy) Evaluate(ctx context.Context, in Input) ([]Denial, []Annotation) {
	fail := func(err error) ([]Denial, []Annotation) {
		if p.open {
			return nil, nil
		}
		return []Denial{{Message: err.Error(), Failure: failureOf(err)}}, nil
	}
	if p.matches != nil {
		matches, err := p.matches.Match(ctx, in.Attributes, in.Params, in.Authorizer)
		if err != nil {
			return fail(err)
		}
		if !matches {
			return nil, nil
		}
	}
	request := plugincel.CreateAdmissionRequest(in.Attributes.Attributes, metav1.GroupVersionResource(in.Resource), metav1.GroupVersionKind(in.Attributes.VersionedKind))
	namespace := plugincel.CreateNamespaceObject(in.Namespace)
	bound := plugincel.OptionalVariableBindings{VersionedParams: in.Params, Authorizer: in.Authorizer}
	results, left, err := p.checks.ForInput(ctx, in.Attributes, request, bound, namespace, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return fail(err)
	}
	messages, _, messageErr := p.messages.ForInput(ctx, in.Attributes, request,
		plugincel.OptionalVariableBindings{VersionedParams: in.Params}, namespace, left)
	var denials []Denial
	for i, r := range results {
		d := Denial{Expression: i, Failure: NoFailure}
		switch {
		case r.Error != nil:
			d.Message, d.Failure = r.Error.Error(), failureOf(r.Error)
		case errors.Is(messageErr, apiservercel.ErrInternal) || errors.Is(messageErr, apiservercel.ErrOutOfBudget):
			d.Message, d.Failure = fmt.Sprintf("failed messageExpression: %s", messageErr), failureOf(messageErr)
		case r.EvalResult == celtypes.True:
			continue
		default:
			d.Reason, d.Message = p.reason(i), p.message(i, messages)
		}
		if d.Reason != "" || !p.open {
			denials = append(denials, d)
		}
	}
	annotations, failed := p.annotate(ctx, in, request, namespace)
	return append(denials, failed...), annotations
}

func (p *Policy) reason(i int) metav1.StatusReason {
	if r := p.validations[i].Reason; r != nil {
		return *r
	}
	return metav1.StatusReasonInvalid
}

// message is what a validation says about its failure: what its message
// expression gives, or its message, or the expression itself.
func (p *Policy) message(i int, made []plugincel.EvaluationResult) string {
	v := &p.validations[i]
	if i < len(made) && made[i].Error == nil && made[i].EvalResult != nil {
		text, _ := made[i].EvalResult.Value().(string)
		text = strings.TrimSpace(text)
		if text != "" && len(text) <= celconfig.MaxEvaluatedMessageExpressionSizeBytes && !strings.ContainsAny(text, "\n\r") {
			return text
		}
	}
	if text := strings.TrimSpace(v.Message); text != "" {
		return text
	}
	return "failed expression: " + strings.TrimSpace(v.Expression)
}
