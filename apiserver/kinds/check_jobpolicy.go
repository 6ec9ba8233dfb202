package kinds

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	maxPolicyRules     = 20
	maxPolicyExitCodes = 255
)

// requiredOneOf is for a field that must be one of a few values; other than oneOf it
// tells which when there is none.
func requiredOneOf[T ~string](c *checker, p *path, value T, supported ...T) {
	if value == "" {
		c.required(p, fmt.Sprintf("valid values: %q", supported))
	} else if !slices.Contains(supported, value) {
		c.add(field.NotSupported(p, value, supported))
	}
}

// failurePolicy checks which failed pods count how.
func (c *checker) failurePolicy(p *path, s *batchv1.JobSpec) {
	if s.PodFailurePolicy == nil {
		return
	}
	rules := s.PodFailurePolicy.Rules
	p = p.Child("podFailurePolicy", "rules")
	if len(rules) > maxPolicyRules {
		c.add(field.TooMany(p, len(rules), maxPolicyRules))
	}
	for i := range rules {
		r, at := &rules[i], p.Index(i)
		requiredOneOf(c, at.Child("action"), r.Action, batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
			batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
		if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
			c.invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set")
		}
		if r.OnExitCodes != nil {
			c.exitCodes(at.Child("onExitCodes"), r.OnExitCodes, &s.Template.Spec)
		}
		c.podConditions(at.Child("onPodConditions"), r.OnPodConditions)
		switch {
		case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
			c.invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
		case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
			c.invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
		}
	}
}

func (c *checker) exitCodes(p *path, r *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.PodSpec) {
	requiredOneOf(c, p.Child("operator"), r.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if n := r.ContainerName; n != nil && !hasContainer(pod, *n) {
		c.invalid(p.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template")
	}
	at := p.Child("values")
	if len(r.Values) == 0 {
		c.invalid(at, r.Values, "at least one value is required")
	} else if len(r.Values) > maxPolicyExitCodes {
		c.add(field.TooMany(at, len(r.Values), maxPolicyExitCodes))
	}
	for i, v := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && v == 0 {
			c.invalid(at.Index(i), v, "must not be 0 for the In operator")
		}
		if slices.Contains(r.Values[:i], v) {
			c.add(field.Duplicate(at.Index(i), v))
		}
	}
	if !slices.IsSorted(r.Values) {
		c.invalid(at, r.Values, "must be ordered")
	}
}

func (c *checker) podConditions(p *path, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) {
	if len(patterns) > maxPolicyRules {
		c.add(field.TooMany(p, len(patterns), maxPolicyRules))
	}
	for i := range patterns {
		at := p.Index(i)
		c.messages(at, "type", patterns[i].Type, validation.IsQualifiedName(string(patterns[i].Type)))
		requiredOneOf(c, at.Child("status"), patterns[i].Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
	}
}

// successPolicy checks which indexes are enough.
func (c *checker) successPolicy(p *path, s *batchv1.JobSpec) {
	if s.SuccessPolicy == nil {
		return
	}
	p = p.Child("successPolicy")
	if deref(s.CompletionMode, "") != batchv1.IndexedCompletion {
		c.invalid(p, *s.SuccessPolicy, "requires indexed completion mode")
		return
	}
	rules := s.SuccessPolicy.Rules
	if len(rules) == 0 {
		c.required(p.Child("rules"), "at least one rules must be specified when the successPolicy is specified")
	}
	if len(rules) > maxPolicyRules {
		c.add(field.TooMany(p.Child("rules"), len(rules), maxPolicyRules))
	}
	for i := range rules {
		at := p.Child("rules").Index(i)
		if rules[i].SucceededCount == nil && rules[i].SucceededIndexes == nil {
			c.required(at, "at least one of succeededCount or succeededIndexes must be specified")
		}
		if n := rules[i].SucceededCount; n != nil {
			c.nonNegative(at, "succeededCount", int64(*n))
			if most := deref(s.Completions, 0); *n > most {
				c.invalid(at.Child("succeededCount"), *n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", most))
			}
		}
	}
}

// manager checks the name of the controller that a job is left to.
func (c *checker) manager(p *path, name *string) {
	if name == nil {
		return
	}
	c.add(validation.IsDomainPrefixedPath(p.Child("managedBy"), *name)...)
	if len(*name) > 63 {
		c.add(field.TooLong(p.Child("managedBy"), "", 63))
	}
}
