package kinds

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func checkDeployment(o, old *appsv1.Deployment) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	c.nonNegativePtr(p, "replicas", s.Replicas)
	c.templateSelector(p, s.Selector, s.Template.Labels, "deployment")
	c.template(p.Child("template"), &s.Template, corev1.RestartPolicyAlways)
	c.noDeadline(p, &s.Template, "ReplicaSet")
	c.strategy(p.Child("strategy"), &s.Strategy)
	c.nonNegative(p, "minReadySeconds", int64(s.MinReadySeconds))
	c.nonNegativePtr(p, "revisionHistoryLimit", s.RevisionHistoryLimit)
	if d := s.ProgressDeadlineSeconds; d != nil {
		c.nonNegative(p, "progressDeadlineSeconds", int64(*d))
		if *d <= s.MinReadySeconds {
			c.invalid(p.Child("progressDeadlineSeconds"), *d, "must be greater than minReadySeconds")
		}
	}
	if old != nil {
		c.sameSelector(p, s.Selector, old.Spec.Selector)
	}
	return c.errs
}

func (c *checker) sameSelector(p *path, now, was *metav1.LabelSelector) {
	if !equality.Semantic.DeepEqual(now, was) {
		c.invalid(p.Child("selector"), now, immutable)
	}
}

// noDeadline refuses a deadline for pods that are there to stay.
func (c *checker) noDeadline(spec *path, t *corev1.PodTemplateSpec, kindName string) {
	if t.Spec.ActiveDeadlineSeconds != nil {
		c.forbidden(spec.Child("template", "spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kindName+" is not Supported")
	}
}

func (c *checker) strategy(p *path, s *appsv1.DeploymentStrategy) {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			c.forbidden(p.Child("rollingUpdate"), "may not be specified when strategy `type` is '"+string(s.Type)+"'")
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			c.required(p.Child("rollingUpdate"), "this should be defaulted and never be nil")
			return
		}
		c.rolling(p.Child("rollingUpdate"), s.RollingUpdate.MaxUnavailable, s.RollingUpdate.MaxSurge)
	default:
		c.add(field.NotSupported(p, s,
			[]appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType}))
	}
}

func (c *checker) rolling(p *path, unavailable, surge *intstr.IntOrString) {
	down, up := deref(unavailable, intstr.IntOrString{}), deref(surge, intstr.IntOrString{})
	c.amount(p, "maxUnavailable", down)
	c.amount(p, "maxSurge", up)
	if zero(down) && zero(up) {
		c.invalid(p.Child("maxUnavailable"), down, "may not be 0 when `maxSurge` is 0")
	}
	c.atMostAll(p, "maxUnavailable", down)
}

func checkDeploymentStatus(o, old *appsv1.Deployment) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("status"), &o.Status
	c.counts(p, []count{
		{"replicas", s.Replicas}, {"updatedReplicas", s.UpdatedReplicas}, {"readyReplicas", s.ReadyReplicas},
		{"availableReplicas", s.AvailableReplicas}, {"unavailableReplicas", s.UnavailableReplicas},
	})
	c.nonNegative(p, "observedGeneration", s.ObservedGeneration)
	c.nonNegativePtr(p, "collisionCount", s.CollisionCount)
	c.atMost(p, "updatedReplicas", s.UpdatedReplicas, "status.replicas", s.Replicas)
	c.atMost(p, "readyReplicas", s.ReadyReplicas, "status.replicas", s.Replicas)
	c.atMost(p, "availableReplicas", s.AvailableReplicas, "status.replicas", s.Replicas)
	c.atMost(p, "availableReplicas", s.AvailableReplicas, "readyReplicas", s.ReadyReplicas)
	if was := old.Status.CollisionCount; was != nil && deref(s.CollisionCount, 0) < *was {
		c.invalid(p.Child("collisionCount"), deref(s.CollisionCount, 0), "cannot be decremented")
	}
	return c.errs
}

type count struct {
	name  string
	value int32
}

func (c *checker) counts(p *path, all []count) {
	for _, n := range all {
		c.nonNegative(p, n.name, int64(n.value))
	}
}

// atMost checks a part of a whole.
func (c *checker) atMost(p *path, name string, value int32, whole string, limit int32) {
	if value > limit {
		c.invalid(p.Child(name), value, "cannot be greater than "+whole)
	}
}

func checkReplicaSet(o, old *appsv1.ReplicaSet) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	c.nonNegativePtr(p, "replicas", s.Replicas)
	c.nonNegative(p, "minReadySeconds", int64(s.MinReadySeconds))
	c.templateSelector(p, s.Selector, s.Template.Labels, "deployment")
	c.template(p.Child("template"), &s.Template, corev1.RestartPolicyAlways)
	c.noDeadline(p, &s.Template, "ReplicaSet")
	if old != nil {
		c.sameSelector(p, s.Selector, old.Spec.Selector)
	}
	return c.errs
}

func checkReplicaSetStatus(o, _ *appsv1.ReplicaSet) fieldErrors {
	s := &o.Status
	return checkReplicas(s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration)
}

func checkReplicas(replicas, labelled, ready, available int32, observed int64) fieldErrors {
	c := &checker{}
	p := field.NewPath("status")
	c.counts(p, []count{
		{"replicas", replicas}, {"fullyLabeledReplicas", labelled}, {"readyReplicas", ready}, {"availableReplicas", available},
	})
	c.nonNegative(p, "observedGeneration", observed)
	c.atMost(p, "fullyLabeledReplicas", labelled, "status.replicas", replicas)
	c.atMost(p, "readyReplicas", ready, "status.replicas", replicas)
	c.atMost(p, "availableReplicas", available, "status.replicas", replicas)
	c.atMost(p, "availableReplicas", available, "readyReplicas", ready)
	return c.errs
}

func checkReplicationController(o, _ *corev1.ReplicationController) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	c.nonNegativePtr(p, "replicas", s.Replicas)
	c.nonNegative(p, "minReadySeconds", int64(s.MinReadySeconds))
	if len(s.Selector) == 0 {
		c.required(p.Child("selector"), "")
	}
	if s.Template == nil {
		c.required(p.Child("template"), "")
		return c.errs
	}
	if len(s.Selector) > 0 && !selects(&metav1.LabelSelector{MatchLabels: s.Selector}, s.Template.Labels) {
		c.invalid(p.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
	}
	c.template(p.Child("template"), s.Template, corev1.RestartPolicyAlways)
	c.noDeadline(p, s.Template, "ReplicationController")
	return c.errs
}

func checkReplicationControllerStatus(o, _ *corev1.ReplicationController) fieldErrors {
	s := &o.Status
	return checkReplicas(s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration)
}

func checkControllerRevision(o, old *appsv1.ControllerRevision) fieldErrors {
	c := &checker{}
	c.nonNegative(nil, "revision", o.Revision)
	if len(o.Data.Raw) == 0 && o.Data.Object == nil {
		c.required(field.NewPath("data"), "data is mandatory")
	}
	if old != nil && !equality.Semantic.DeepEqual(&o.Data, &old.Data) {
		c.invalid(field.NewPath("data"), "", immutable)
	}
	return c.errs
}
