package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/apiserver/expression"
	"github.com/headway-sh/headway/apiserver/write"
)

const (
	// maxFailures bounds the failures that one audit annotation lists.
	maxFailures = 50
	// maxValue bounds the value of a policy's audit annotation, bytes.
	maxValue = 10 << 10

	failuresKey = "validation.policy.admission.k8s.io/validation_failure"
)

// denial is what the request is refused for.
type denial struct {
	message string
	reason  metav1.StatusReason
}

// failure is one entry of the audit annotation about failed validations, in
// the words of the API reference.
type failure struct {
	Message           string                         `json:"message"`
	Policy            string                         `json:"policy"`
	Binding           string                         `json:"binding"`
	ExpressionIndex   int                            `json:"expressionIndex"`
	ValidationActions []admissionv1.ValidationAction `json:"validationActions"`
}

// deny notes a refusal; the first one is told.
func (j *judgement) deny(message string, reason metav1.StatusReason) {
	if j.denied == nil {
		j.denied = &denial{message, reason}
	}
}

// misconfigured refuses because of the policy, or of one of its bindings,
// unless the policy ignores failures.
func (j *judgement) misconfigured(policy *admissionv1.ValidatingAdmissionPolicy, binding *admissionv1.ValidatingAdmissionPolicyBinding, err error) {
	if policy.Spec.FailurePolicy != nil && *policy.Spec.FailurePolicy == admissionv1.Ignore {
		return
	}
	if binding == nil {
		j.deny(fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: failed to configure policy: %v", policy.Name, err), "")
		return
	}
	j.deny(fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: failed to configure binding: %v", policy.Name, binding.Name, err), "")
}

// sentence does with failed validations what the binding says.
func (j *judgement) sentence(policy *admissionv1.ValidatingAdmissionPolicy, binding *admissionv1.ValidatingAdmissionPolicyBinding, denials []expression.Denial, took time.Duration) {
	if len(denials) == 0 {
		j.measure(policy, binding, expression.NoFailure, "allow", took)
	}
	for _, d := range denials {
		for _, action := range binding.Spec.ValidationActions {
			j.measure(policy, binding, d.Failure, strings.ToLower(string(action)), took)
			switch action {
			case admissionv1.Deny:
				j.deny(fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", policy.Name, binding.Name, d.Message), d.Reason)
			case admissionv1.Warn:
				j.request.Warn(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", policy.Name, binding.Name, d.Message))
			case admissionv1.Audit:
				j.failures = append(j.failures, failure{Message: d.Message, Policy: policy.Name, Binding: binding.Name,
					ExpressionIndex: d.Expression, ValidationActions: binding.Spec.ValidationActions})
			}
		}
	}
}

func (j *judgement) measure(policy *admissionv1.ValidatingAdmissionPolicy, binding *admissionv1.ValidatingAdmissionPolicyBinding, failure, action string, took time.Duration) {
	if j.Meter != nil {
		j.Meter.Checked(policy.Name, binding.Name, failure, action, took)
	}
}

// answer is the verdict of all policies.
func (j *judgement) answer() error {
	if len(j.failures) > 0 {
		text, err := json.Marshal(j.failures[:min(len(j.failures), maxFailures)])
		if err != nil {
			return fmt.Errorf("encode failed validations: %w", err)
		}
		j.request.Annotate(failuresKey, string(text))
	}
	if j.denied == nil {
		return nil
	}
	err := apierrors.NewForbidden(j.request.Served.Served(), j.request.Ref.Name, errors.New(j.denied.message))
	err.ErrStatus.Reason = j.denied.reason
	switch j.denied.reason {
	case metav1.StatusReasonForbidden:
	case metav1.StatusReasonUnauthorized:
		err.ErrStatus.Code = http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		err.ErrStatus.Code = http.StatusRequestEntityTooLarge
	default:
		err.ErrStatus.Reason, err.ErrStatus.Code = metav1.StatusReasonInvalid, http.StatusUnprocessableEntity
	}
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: j.denied.message})
	return err
}

// annotations are the values of a policy's audit annotations by key, for all
// of its bindings and params.
type annotations map[string][]string

func (a annotations) add(made []expression.Annotation) {
	for _, one := range made {
		value := one.Value[:min(len(one.Value), maxValue)]
		if !slices.Contains(a[one.Key], value) {
			a[one.Key] = append(a[one.Key], value)
		}
	}
}

func (a annotations) publish(policy string, r *write.Request) {
	for key, values := range a {
		r.Annotate(policy+"/"+key, strings.Join(values, ", "))
	}
}
