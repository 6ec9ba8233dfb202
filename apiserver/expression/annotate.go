package expression

import (
	"context"
	"fmt"
	"strings"

	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// annotate evaluates the audit annotations; a null or empty value is none.
func (p *Policy) annotate(ctx context.Context, in Input, request *admissionv1.AdmissionRequest, namespace *corev1.Namespace) ([]Annotation, []Denial) {
	bound := plugincel.OptionalVariableBindings{VersionedParams: in.Params, Authorizer: in.Authorizer}
	results, _, err := p.annotations.ForInput(ctx, in.Attributes, request, bound, namespace, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return nil, p.failed(err.Error())
	}
	var out []Annotation
	var failed []Denial
	for i, r := range results {
		if r.Error != nil {
			failed = append(failed, p.failed(r.Error.Error())...)
			continue
		}
		switch v := r.EvalResult.(type) {
		case celtypes.String:
			if text := strings.TrimSpace(string(v)); text != "" {
				out = append(out, Annotation{p.keys[i], text})
			}
		case celtypes.Null:
		default:
			failed = append(failed, p.failed(fmt.Sprintf("valueExpression '%v' resulted in unsupported return type: %v. Return type must be either string or null.",
				r.ExpressionAccessor.GetExpression(), r.EvalResult.Type()))...)
		}
	}
	return out, failed
}

func (p *Policy) failed(message string) []Denial {
	if p.open {
		return nil
	}
	return []Denial{{Message: message, Failure: invalid}}
}
