package kinds

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	segment "k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of a HorizontalPodAutoscaler's behaviour, in seconds.
const (
	maxScalingPeriod = 1800
	maxStabilization = 3600
)

func checkHPA(o, old *autoscalingv2.HorizontalPodAutoscaler) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	c.nonNegativePtr(p, "minReplicas", s.MinReplicas)
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !slices.ContainsFunc(s.Metrics, outside) {
		c.forbidden(p.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	switch {
	case s.MaxReplicas == 0:
		c.required(p.Child("maxReplicas"), "")
	case s.MaxReplicas < 0:
		c.invalid(p.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to 1")
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		c.invalid(p.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	target := s.ScaleTargetRef
	c.someResource(p.Child("scaleTargetRef"), nil, target.Kind, target.Name)
	// What was taken once, without a group, stays good.
	if was := old; was == nil || was.Spec.ScaleTargetRef.APIVersion != target.APIVersion || was.Spec.ScaleTargetRef.Kind != target.Kind {
		c.apiVersion(p.Child("scaleTargetRef"), target.APIVersion, target.Kind == "ReplicationController")
	}
	for i := range s.Metrics {
		c.metric(p.Child("metrics").Index(i), &s.Metrics[i])
	}
	if b := s.Behavior; b != nil {
		c.scalingRules(p.Child("behavior", "scaleUp"), b.ScaleUp)
		c.scalingRules(p.Child("behavior", "scaleDown"), b.ScaleDown)
	}
	return c.errs
}

// outside tells a metric that can be measured where no pod runs.
func outside(m autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
}

func checkHPAStatus(o, _ *autoscalingv2.HorizontalPodAutoscaler) fieldErrors {
	c, p := &checker{}, field.NewPath("status")
	c.nonNegative(p, "currentReplicas", int64(o.Status.CurrentReplicas))
	c.nonNegative(p, "desiredReplicas", int64(o.Status.DesiredReplicas))
	for i := range o.Status.Conditions {
		c.nonNegative(p.Child("conditions").Index(i), "observedGeneration", deref(o.Status.Conditions[i].ObservedGeneration, 0))
	}
	return c.errs
}

// scaled checks a reference to an object of any group.
func (c *checker) scaled(p *path, ref autoscalingv2.CrossVersionObjectReference) {
	c.someResource(p, nil, ref.Kind, ref.Name)
	c.apiVersion(p, ref.APIVersion, true)
}

// apiVersion checks one; core tells whether the core group is fine.
func (c *checker) apiVersion(p *path, version string, core bool) {
	gv, err := schema.ParseGroupVersion(version)
	switch {
	case err != nil:
		c.invalid(p.Child("apiVersion"), version, err.Error())
	case gv.Group == "" && !core:
		c.invalid(p.Child("apiVersion"), version, "apiVersion must specify API group")
	}
}

func (c *checker) scalingRules(p *path, r *autoscalingv2.HPAScalingRules) {
	if r == nil {
		return
	}
	if w := r.StabilizationWindowSeconds; w != nil && *w < 0 {
		c.invalid(p.Child("stabilizationWindowSeconds"), *w, "must be greater than or equal to zero")
	} else if w != nil && *w > maxStabilization {
		c.invalid(p.Child("stabilizationWindowSeconds"), *w, fmt.Sprintf("must be less than or equal to %d", maxStabilization))
	}
	oneOfPtr(c, p, "selectPolicy", r.SelectPolicy, autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	if len(r.Policies) == 0 {
		c.required(p.Child("policies"), "must specify at least one Policy")
	}
	for i := range r.Policies {
		at, policy := p.Child("policies").Index(i), &r.Policies[i]
		oneOfPtr(c, at, "type", &policy.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		if policy.Value <= 0 {
			c.invalid(at.Child("value"), policy.Value, "must be greater than zero")
		}
		if policy.PeriodSeconds <= 0 {
			c.invalid(at.Child("periodSeconds"), policy.PeriodSeconds, "must be greater than zero")
		} else if policy.PeriodSeconds > maxScalingPeriod {
			c.invalid(at.Child("periodSeconds"), policy.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", maxScalingPeriod))
		}
	}
	if t := r.Tolerance; t != nil && t.Sign() < 0 {
		c.invalid(p.Child("tolerance"), t.String(), isNegative)
	}
}

// metric checks that the source that the type names, and no other, is there,
// and that it says what to look at and what to reach.
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
	known, present := false, 0
	for _, s := range sources {
		known = known || s.kind == m.Type
		if s.set {
			present++
		}
		if s.kind == m.Type && !s.set {
			c.required(p.Child(s.name), "must populate information for the given metric source")
		}
	}
	for _, s := range sources {
		if s.set && s.kind != m.Type && present > 1 {
			c.forbidden(p.Child(s.name), "must populate the given metric source only")
		}
	}
	if !known {
		c.add(field.NotSupported(p.Child("type"), m.Type, []autoscalingv2.MetricSourceType{
			autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType, autoscalingv2.ObjectMetricSourceType,
			autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType}))
	}
	c.metricSource(p, m)
}

// metricSource checks the first source that is there: only one may be.
func (c *checker) metricSource(p *path, m *autoscalingv2.MetricSpec) {
	switch {
	case m.Object != nil:
		s, at := m.Object, p.Child("object")
		c.scaled(at.Child("describedObject"), s.DescribedObject)
		c.identified(at.Child("metric"), &s.Metric)
		c.target(at.Child("target"), &s.Target)
		if s.Target.Value == nil && s.Target.AverageValue == nil {
			c.required(at.Child("target", "averageValue"), "must set either a target value or averageValue")
		}
	case m.External != nil:
		s, at := m.External, p.Child("external")
		c.identified(at.Child("metric"), &s.Metric)
		c.target(at.Child("target"), &s.Target)
		switch {
		case s.Target.Value == nil && s.Target.AverageValue == nil:
			c.required(at.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target")
		case s.Target.Value != nil && s.Target.AverageValue != nil:
			c.forbidden(at.Child("target", "value"), "may not set both a target value for metric and a per-pod target")
		}
	case m.Pods != nil:
		s, at := m.Pods, p.Child("pods")
		c.identified(at.Child("metric"), &s.Metric)
		c.target(at.Child("target"), &s.Target)
		if s.Target.AverageValue == nil {
			c.required(at.Child("target", "averageValue"), "must specify a positive target averageValue")
		}
	case m.Resource != nil:
		at := p.Child("resource")
		c.named(at, "name", string(m.Resource.Name), "must specify a resource name")
		c.utilization(at.Child("target"), &m.Resource.Target)
	case m.ContainerResource != nil:
		s, at := m.ContainerResource, p.Child("containerResource")
		if !ordinary(s.Name) && s.Name != "" {
			c.add(containerResource(at.Child("name"), s.Name)...)
		}
		c.named(at, "name", string(s.Name), "must specify a resource name")
		c.named(at, "container", s.Container, "must specify a container")
		if s.Container != "" {
			c.dnsLabel(at, "container", s.Container)
		}
		c.utilization(at.Child("target"), &s.Target)
	}
}

func (c *checker) named(p *path, field, value, why string) {
	if value == "" {
		c.required(p.Child(field), why)
	}
}

func (c *checker) identified(p *path, m *autoscalingv2.MetricIdentifier) {
	if m.Name == "" {
		c.required(p.Child("name"), "must specify a metric name")
		return
	}
	c.messages(p, "name", m.Name, segment.IsValidPathSegmentName(m.Name))
}

// target checks amounts to reach; each is positive.
func (c *checker) target(p *path, t *autoscalingv2.MetricTarget) {
	if t.Type == "" {
		c.required(p.Child("type"), "must specify a metric target type")
	}
	switch t.Type {
	case autoscalingv2.AverageValueMetricType, autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType:
	default:
		c.invalid(p.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	if t.Value != nil && t.Value.Sign() != 1 {
		c.invalid(p.Child("value"), t.Value.String(), "must be positive")
	}
	if t.AverageValue != nil && t.AverageValue.Sign() != 1 {
		c.invalid(p.Child("averageValue"), t.AverageValue.String(), "must be positive")
	}
	if u := t.AverageUtilization; u != nil && *u < 1 {
		c.invalid(p.Child("averageUtilization"), *u, "must be greater than 0")
	}
}

// utilization checks the target of a resource that pods ask for.
func (c *checker) utilization(p *path, t *autoscalingv2.MetricTarget) {
	c.target(p, t)
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		c.required(p.Child("averageUtilization"), "must set either a target raw value or a target utilization")
	case t.AverageUtilization != nil && t.AverageValue != nil:
		c.forbidden(p.Child("averageValue"), "may not set both a target raw value and a target utilization")
	}
}
