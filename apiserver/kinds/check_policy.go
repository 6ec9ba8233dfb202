package kinds

import (
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/validation"
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
	} else if o.Value > highestUserPriority {
		c.forbidden(field.NewPath("value"), "maximum allowed value of a user defined priority is 1000000000")
	}
	oneOfPtr(c, nil, "preemptionPolicy", o.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)
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
	c.dnsLabel(nil, "handler", o.Handler)
	if o.Overhead != nil {
		c.resourceList(field.NewPath("overhead", "podFixed"), o.Overhead.PodFixed)
	}
	if s := o.Scheduling; s != nil {
		c.labels(field.NewPath("scheduling", "nodeSelector"), s.NodeSelector)
		for i := range s.Tolerations {
			c.toleration(field.NewPath("scheduling", "tolerations").Index(i), &s.Tolerations[i])
		}
	}
	if old != nil {
		same(c, nil, "handler", o.Handler, old.Handler)
	}
	return c.errs
}

func checkPodTemplate(o, _ *corev1.PodTemplate) fieldErrors {
	c := &checker{}
	c.template(field.NewPath("template"), &o.Template)
	return c.errs
}

func checkServiceAccount(o, _ *corev1.ServiceAccount) fieldErrors {
	c := &checker{}
	for i := range o.Secrets {
		if n := o.Secrets[i].Name; n != "" {
			c.dnsSubdomain(field.NewPath("secrets").Index(i), "name", n)
		}
	}
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
	oneOfPtr(c, p, "unhealthyPodEvictionPolicy", s.UnhealthyPodEvictionPolicy, policyv1.IfHealthyBudget, policyv1.AlwaysAllow)
	return c.errs
}

func checkLimitRange(o, _ *corev1.LimitRange) fieldErrors {
	c := &checker{}
	var types nameSet
	for i := range o.Spec.Limits {
		l := &o.Spec.Limits[i]
		p := field.NewPath("spec", "limits").Index(i)
		c.messages(p, "type", l.Type, validation.IsQualifiedName(string(l.Type)))
		if !types.add(string(l.Type)) {
			c.add(field.Duplicate(p.Child("type"), l.Type))
		}
		if l.Type == corev1.LimitTypePod {
			if len(l.Default) > 0 {
				c.forbidden(p.Child("default"), "may not be specified when `type` is 'Pod'")
			}
			if len(l.DefaultRequest) > 0 {
				c.forbidden(p.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
			}
		}
		c.ordered(p, "min", l.Min, "max", l.Max)
		c.ordered(p, "min", l.Min, "default request", l.DefaultRequest)
		c.ordered(p, "default request", l.DefaultRequest, "default", l.Default)
		c.ordered(p, "default", l.Default, "max", l.Max)
		for name, q := range l.MaxLimitRequestRatio {
			if q.MilliValue() < 1000 {
				c.invalid(p.Child("maxLimitRequestRatio").Key(string(name)), q.String(), "ratio "+q.String()+" is less than 1")
			}
		}
	}
	return c.errs
}

// ordered checks that no amount of a is above b's.
func (c *checker) ordered(p *path, name string, a corev1.ResourceList, above string, b corev1.ResourceList) {
	at := map[string]string{"default request": "defaultRequest"}[name]
	if at == "" {
		at = name
	}
	for k, low := range a {
		if high, ok := b[k]; ok && low.Cmp(high) > 0 {
			c.invalid(p.Child(at).Key(string(k)), low.String(), name+" value "+low.String()+" is greater than "+above+" value "+high.String())
		}
	}
}

func checkResourceQuota(o, old *corev1.ResourceQuota) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec")
	c.resourceList(p.Child("hard"), o.Spec.Hard)
	scopes := map[corev1.ResourceQuotaScope]bool{}
	for _, s := range o.Spec.Scopes {
		switch s {
		case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
			corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		default:
			c.invalid(p.Child("scopes"), o.Spec.Scopes, "unsupported scope")
		}
		scopes[s] = true
	}
	if scopes[corev1.ResourceQuotaScopeBestEffort] && scopes[corev1.ResourceQuotaScopeNotBestEffort] ||
		scopes[corev1.ResourceQuotaScopeTerminating] && scopes[corev1.ResourceQuotaScopeNotTerminating] {
		c.invalid(p.Child("scopes"), o.Spec.Scopes, "conflicting scopes")
	}
	if old == nil {
		return c.errs
	}
	was := map[corev1.ResourceQuotaScope]bool{}
	for _, s := range old.Spec.Scopes {
		was[s] = true
	}
	changed := len(was) != len(scopes)
	for s := range scopes {
		changed = changed || !was[s]
	}
	if changed {
		c.invalid(p.Child("scopes"), o.Spec.Scopes, immutable)
	}
	return c.errs
}

func checkHPA(o, _ *autoscalingv2.HorizontalPodAutoscaler) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if s.MinReplicas != nil && *s.MinReplicas < 1 {
		c.invalid(p.Child("minReplicas"), *s.MinReplicas, "must be greater than or equal to 1")
	}
	if s.MaxReplicas < 1 {
		c.invalid(p.Child("maxReplicas"), s.MaxReplicas, "must be greater than 0")
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		c.invalid(p.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	at := p.Child("scaleTargetRef")
	c.dataSource(at, s.ScaleTargetRef.Kind, s.ScaleTargetRef.Name)
	for i := range s.Metrics {
		c.metric(p.Child("metrics").Index(i), &s.Metrics[i])
	}
	return c.errs
}

// metric checks that the source that the type names, and no other, is there.
func (c *checker) metric(p *path, m *autoscalingv2.MetricSpec) {
	sources := [...]struct {
		kind autoscalingv2.MetricSourceType
		name string
		set  bool
	}{
		{autoscalingv2.ObjectMetricSourceType, "object", m.Object != nil}, {autoscalingv2.PodsMetricSourceType, "pods", m.Pods != nil},
		{autoscalingv2.ResourceMetricSourceType, "resource", m.Resource != nil},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", m.ContainerResource != nil},
		{autoscalingv2.ExternalMetricSourceType, "external", m.External != nil},
	}
	if m.Type == "" {
		c.required(p.Child("type"), "must specify a metric source type")
	}
	for _, s := range sources {
		if s.kind == m.Type && !s.set {
			c.required(p.Child(s.name), "must populate information for the given metric source")
		} else if s.kind != m.Type && s.set {
			c.forbidden(p.Child(s.name), "must populate the given metric source only")
		}
	}
	if r := m.Resource; r != nil && r.Target.AverageUtilization == nil && r.Target.AverageValue == nil {
		c.required(p.Child("resource", "target", "averageUtilization"), "must set either a target raw value or a target utilization")
	}
}
