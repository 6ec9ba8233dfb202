package kinds

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func checkStatefulSet(o, old *appsv1.StatefulSet) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	switch s.PodManagementPolicy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	case "":
		c.required(p.Child("podManagementPolicy"), "")
	default:
		c.invalid(p.Child("podManagementPolicy"), s.PodManagementPolicy, "must be 'OrderedReady' or 'Parallel'")
	}
	c.setStrategy(p.Child("updateStrategy"), &s.UpdateStrategy)
	if old == nil {
		// They never change: what was taken once stays.
		for i := range s.VolumeClaimTemplates {
			c.claimSpec(p.Child("volumeClaimTemplates").Index(i).Child("spec"), &s.VolumeClaimTemplates[i].Spec)
		}
		if s.ServiceName != "" {
			c.messages(p, "serviceName", s.ServiceName, validation.IsDNS1123Label(s.ServiceName))
		}
	}
	if r := s.PersistentVolumeClaimRetentionPolicy; r != nil {
		at := p.Child("persistentVolumeClaimRetentionPolicy")
		policies := []appsv1.PersistentVolumeClaimRetentionPolicyType{
			appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
		}
		oneOf(c, at, "whenDeleted", r.WhenDeleted, policies...)
		oneOf(c, at, "whenScaled", r.WhenScaled, policies...)
	}
	c.nonNegativePtr(p, "replicas", s.Replicas)
	c.nonNegative(p, "minReadySeconds", int64(s.MinReadySeconds))
	if s.Ordinals != nil {
		c.nonNegative(p.Child("ordinals"), "start", int64(s.Ordinals.Start))
	}
	c.templateSelector(p, s.Selector, s.Template.Labels, "statefulset")
	// Claims of the templates are volumes of the pods, and names are given to
	// each pod.
	t := s.Template
	t.Spec.Volumes, t.Spec.Hostname, t.Spec.Subdomain = withClaims(s), "", ""
	c.template(p.Child("template"), &t, corev1.RestartPolicyAlways)
	c.noDeadline(p, &s.Template, "StatefulSet")
	if old != nil {
		c.statefulSetUpdate(p, s, &old.Spec)
	}
	return c.errs
}

// setStrategy checks how pods are replaced.
func (c *checker) setStrategy(p *path, s *appsv1.StatefulSetUpdateStrategy) {
	switch r, at := s.RollingUpdate, p.Child("rollingUpdate"); s.Type {
	case "":
		c.required(p, "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if r != nil {
			c.invalid(at, r, "only allowed for updateStrategy 'RollingUpdate'")
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r == nil {
			break
		}
		c.nonNegativePtr(at, "partition", r.Partition)
		if r.MaxUnavailable != nil {
			c.amount(at, "maxUnavailable", *r.MaxUnavailable)
			if zero(*r.MaxUnavailable) {
				c.invalid(at.Child("maxUnavailable"), *r.MaxUnavailable, "cannot be 0")
			}
			c.atMostAll(at, "maxUnavailable", *r.MaxUnavailable)
		}
	default:
		c.invalid(p, s, "must be 'RollingUpdate' or 'OnDelete'")
	}
}

// withClaims are the volumes of a set's pods: a template's claim stands for the
// volume of its name.
func withClaims(s *appsv1.StatefulSetSpec) []corev1.Volume {
	if len(s.VolumeClaimTemplates) == 0 {
		return s.Template.Spec.Volumes
	}
	var volumes []corev1.Volume
	var names nameSet
	for i := range s.VolumeClaimTemplates {
		if name := s.VolumeClaimTemplates[i].Name; names.add(name) {
			volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
			}})
		}
	}
	for _, v := range s.Template.Spec.Volumes {
		if !slices.ContainsFunc(s.VolumeClaimTemplates, func(t corev1.PersistentVolumeClaim) bool { return t.Name == v.Name }) {
			volumes = append(volumes, v)
		}
	}
	return volumes
}

// statefulSetUpdate keeps what names the pods and their claims.
func (c *checker) statefulSetUpdate(p *path, s, old *appsv1.StatefulSetSpec) {
	c.sameSelector(p, s.Selector, old.Selector)
	if !equality.Semantic.DeepEqual(s.VolumeClaimTemplates, old.VolumeClaimTemplates) {
		c.invalid(p.Child("volumeClaimTemplates"), s.VolumeClaimTemplates, immutable)
	}
	same(c, p, "serviceName", s.ServiceName, old.ServiceName)
	same(c, p, "podManagementPolicy", s.PodManagementPolicy, old.PodManagementPolicy)
}

func checkStatefulSetStatus(o, _ *appsv1.StatefulSet) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("status"), &o.Status
	c.counts(p, []count{
		{"replicas", s.Replicas}, {"readyReplicas", s.ReadyReplicas}, {"currentReplicas", s.CurrentReplicas},
		{"updatedReplicas", s.UpdatedReplicas}, {"availableReplicas", s.AvailableReplicas},
	})
	c.nonNegative(p, "observedGeneration", s.ObservedGeneration)
	c.nonNegativePtr(p, "collisionCount", s.CollisionCount)
	c.atMost(p, "readyReplicas", s.ReadyReplicas, "status.replicas", s.Replicas)
	c.atMost(p, "currentReplicas", s.CurrentReplicas, "status.replicas", s.Replicas)
	c.atMost(p, "updatedReplicas", s.UpdatedReplicas, "status.replicas", s.Replicas)
	c.atMost(p, "availableReplicas", s.AvailableReplicas, "status.replicas", s.Replicas)
	c.atMost(p, "availableReplicas", s.AvailableReplicas, "status.readyReplicas", s.ReadyReplicas)
	return c.errs
}

func checkDaemonSet(o, old *appsv1.DaemonSet) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	c.templateSelector(p, s.Selector, s.Template.Labels, "daemonset")
	c.template(p.Child("template"), &s.Template, corev1.RestartPolicyAlways)
	c.noDeadline(p, &s.Template, "DaemonSet")
	c.nonNegative(p, "minReadySeconds", int64(s.MinReadySeconds))
	c.nonNegativePtr(p, "revisionHistoryLimit", s.RevisionHistoryLimit)
	at := p.Child("updateStrategy")
	switch s.UpdateStrategy.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.UpdateStrategy.RollingUpdate == nil {
			c.required(at.Child("rollingUpdate"), "")
			break
		}
		c.daemonRolling(at.Child("rollingUpdate"), s.UpdateStrategy.RollingUpdate)
	default:
		c.add(field.NotSupported(at, s.UpdateStrategy,
			[]appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType}))
	}
	if old != nil {
		c.sameSelector(p, s.Selector, old.Spec.Selector)
	}
	return c.errs
}

// daemonRolling checks that one of the two is set, never both: a node has its
// pod replaced, or gets the new one first.
func (c *checker) daemonRolling(p *path, r *appsv1.RollingUpdateDaemonSet) {
	down, up := deref(r.MaxUnavailable, intstr.IntOrString{}), deref(r.MaxSurge, intstr.IntOrString{})
	c.amount(p, "maxUnavailable", down)
	c.amount(p, "maxSurge", up)
	c.atMostAll(p, "maxUnavailable", down)
	c.atMostAll(p, "maxSurge", up)
	switch {
	case zero(down) && zero(up):
		c.required(p.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0")
	case !zero(down) && !zero(up):
		c.invalid(p.Child("maxSurge"), up, "may not be set when maxUnavailable is non-zero")
	}
}

func checkDaemonSetStatus(o, _ *appsv1.DaemonSet) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("status"), &o.Status
	c.counts(p, []count{
		{"currentNumberScheduled", s.CurrentNumberScheduled}, {"numberMisscheduled", s.NumberMisscheduled},
		{"desiredNumberScheduled", s.DesiredNumberScheduled}, {"numberReady", s.NumberReady},
		{"updatedNumberScheduled", s.UpdatedNumberScheduled}, {"numberAvailable", s.NumberAvailable},
		{"numberUnavailable", s.NumberUnavailable},
	})
	c.nonNegative(p, "observedGeneration", s.ObservedGeneration)
	c.nonNegativePtr(p, "collisionCount", s.CollisionCount)
	return c.errs
}
