package kinds

import (
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func checkLease(o, _ *coordinationv1.Lease) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec")
	if d := o.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		c.invalid(p.Child("leaseDurationSeconds"), *d, "must be greater than 0")
	}
	if n := o.Spec.LeaseTransitions; n != nil && *n < 0 {
		c.invalid(p.Child("leaseTransitions"), *n, isNegative)
	}
	return c.errs
}

// highestUserPriority is above what users may give: the rest is the system's.
const highestUserPriority = 1000000000

func checkPriorityClass(o, old *schedulingv1.PriorityClass) fieldErrors {
	c := &checker{}
	systemClasses := map[string]int32{"system-node-critical": 2*highestUserPriority + 1000, "system-cluster-critical": 2 * highestUserPriority}
	if strings.HasPrefix(o.Name, "system-") {
		if value, ok := systemClasses[o.Name]; !ok {
			c.forbidden(field.NewPath("metadata", "name"), "priority class names with 'system-' prefix are reserved for system use only. error: "+o.Name+" is not a known system priority class")
		} else if value != o.Value {
			c.forbidden(field.NewPath("value"), "value of a system priority class cannot be changed")
		}
	} else if old == nil && o.Value > highestUserPriority {
		c.forbidden(field.NewPath("value"), "maximum allowed value of a user defined priority is 1000000000")
	}
	if o.PreemptionPolicy != nil && old == nil {
		oneOf(c, nil, "preemptionPolicy", *o.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	if old != nil {
		if o.Value != old.Value {
			c.forbidden(field.NewPath("value"), "may not be changed in an update.")
		}
		if deref(o.PreemptionPolicy, "") != deref(old.PreemptionPolicy, "") {
			c.invalid(field.NewPath("preemptionPolicy"), o.PreemptionPolicy, immutable)
		}
	}
	return c.errs
}

func checkRuntimeClass(o, old *nodev1.RuntimeClass) fieldErrors {
	c := &checker{}
	if o.Handler == "" {
		c.required(field.NewPath("handler"), "")
	} else {
		c.messages(nil, "handler", o.Handler, content.IsDNS1123Label(o.Handler))
	}
	if o.Overhead != nil {
		// What a pod costs more is checked, and told of, as limits are.
		c.requirements(field.NewPath("overhead"), &corev1.ResourceRequirements{Limits: o.Overhead.PodFixed}, nil, containerResource)
	}
	if s := o.Scheduling; s != nil {
		c.labels(field.NewPath("scheduling", "nodeSelector"), s.NodeSelector)
		for i := range s.Tolerations {
			at := field.NewPath("scheduling", "tolerations").Index(i)
			c.toleration(at, &s.Tolerations[i])
			if slices.ContainsFunc(s.Tolerations[:i], func(t corev1.Toleration) bool { return t.MatchToleration(&s.Tolerations[i]) }) {
				c.add(field.Duplicate(at, s.Tolerations[i]))
			}
		}
	}
	if old != nil && o.Handler != old.Handler {
		c.invalid(field.NewPath("handler"), nil, immutable)
	}
	return c.errs
}

func checkPodTemplate(o, _ *corev1.PodTemplate) fieldErrors {
	c := &checker{}
	c.template(field.NewPath("template"), &o.Template)
	return c.errs
}

func checkPodDisruptionBudget(o, _ *policyv1.PodDisruptionBudget) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		c.invalid(p, s, "minAvailable and maxUnavailable cannot be both set")
	}
	if v := s.MinAvailable; v != nil {
		c.amount(p, "minAvailable", *v)
		c.atMostAll(p, "minAvailable", *v)
	}
	if v := s.MaxUnavailable; v != nil {
		c.amount(p, "maxUnavailable", *v)
		c.atMostAll(p, "maxUnavailable", *v)
	}
	c.selector(p.Child("selector"), s.Selector)
	oneOfPtr(c, p, "unhealthyPodEvictionPolicy", s.UnhealthyPodEvictionPolicy, policyv1.AlwaysAllow, policyv1.IfHealthyBudget)
	return c.errs
}

func checkPodDisruptionBudgetStatus(o, _ *policyv1.PodDisruptionBudget) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("status"), &o.Status
	c.add(metavalidation.ValidateConditions(s.Conditions, p.Child("conditions"))...)
	c.nonNegative(p, "disruptionsAllowed", int64(s.DisruptionsAllowed))
	c.nonNegative(p, "currentHealthy", int64(s.CurrentHealthy))
	c.nonNegative(p, "desiredHealthy", int64(s.DesiredHealthy))
	c.nonNegative(p, "expectedPods", int64(s.ExpectedPods))
	return c.errs
}
