package kinds

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const podFixed = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
	"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// podUpdate checks what may change in a pod's spec: very little, for most of it
// is running already.
func (c *checker) podUpdate(p *path, s, old *corev1.PodSpec) {
	if equality.Semantic.DeepEqual(s, old) {
		return
	}
	if len(s.Containers) != len(old.Containers) {
		c.forbidden(p.Child("containers"), "pod updates may not add or remove containers")
		return
	}
	if len(s.InitContainers) != len(old.InitContainers) {
		c.forbidden(p.Child("initContainers"), "pod updates may not add or remove containers")
		return
	}
	c.images(p.Child("containers"), s.Containers)
	c.images(p.Child("initContainers"), s.InitContainers)
	c.deadlineUpdate(p, s, old)
	c.tolerationsUpdate(p.Child("tolerations"), s.Tolerations, old.Tolerations)
	c.gatesUpdate(p.Child("schedulingGates"), s, old)
	if !equality.Semantic.DeepEqual(mayChange(s, old), old) {
		c.forbidden(p, podFixed)
	}
}

func (c *checker) images(p *path, containers []corev1.Container) {
	for i := range containers {
		if containers[i].Image == "" {
			c.required(p.Index(i).Child("image"), "")
		}
	}
}

func (c *checker) deadlineUpdate(p *path, s, old *corev1.PodSpec) {
	now, was := s.ActiveDeadlineSeconds, old.ActiveDeadlineSeconds
	switch {
	case now != nil && *now < 0:
		c.invalid(p.Child("activeDeadlineSeconds"), *now, isNegative)
	case now != nil && was != nil && *now > *was:
		c.invalid(p.Child("activeDeadlineSeconds"), *now, "must be less than or equal to previous value")
	case now == nil && was != nil:
		c.invalid(p.Child("activeDeadlineSeconds"), now, "must not update from a positive integer to nil value")
	}
}

// tolerationsUpdate lets tolerations be added, and of old ones only the seconds
// be changed.
func (c *checker) tolerationsUpdate(p *path, now, was []corev1.Toleration) {
	for i := range now {
		c.toleration(p.Index(i), &now[i])
	}
	for i := range was {
		kept := slices.ContainsFunc(now, func(t corev1.Toleration) bool { return t.MatchToleration(&was[i]) })
		if !kept {
			c.forbidden(p, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
}

func (c *checker) gatesUpdate(p *path, s, old *corev1.PodSpec) {
	for i, g := range s.SchedulingGates {
		if !slices.Contains(old.SchedulingGates, g) {
			c.forbidden(p.Index(i), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name))
		}
	}
}

// mayChange is the new spec with all that may change taken back to the old.
func mayChange(s, old *corev1.PodSpec) *corev1.PodSpec {
	m := *s
	m.Containers = withImages(s.Containers, old.Containers)
	m.InitContainers = withImages(s.InitContainers, old.InitContainers)
	m.ActiveDeadlineSeconds, m.Tolerations, m.SchedulingGates = old.ActiveDeadlineSeconds, old.Tolerations, old.SchedulingGates
	if deref(old.TerminationGracePeriodSeconds, 0) < 0 && deref(s.TerminationGracePeriodSeconds, 0) == 1 {
		m.TerminationGracePeriodSeconds = old.TerminationGracePeriodSeconds
	}
	if len(old.SchedulingGates) > 0 {
		// Not yet with the scheduler: where it may run can still be narrowed.
		m.NodeSelector, m.Affinity = old.NodeSelector, old.Affinity
	}
	return &m
}

func withImages(now, was []corev1.Container) []corev1.Container {
	all := slices.Clone(now)
	for i := range all {
		all[i].Image = was[i].Image
	}
	return all
}

// checkEphemeralUpdate lets ephemeral containers be added and nothing else.
func checkEphemeralUpdate(o, old *corev1.Pod) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec", "ephemeralContainers")
	for i := range old.Spec.EphemeralContainers {
		was := &old.Spec.EphemeralContainers[i]
		at := slices.IndexFunc(o.Spec.EphemeralContainers, func(e corev1.EphemeralContainer) bool { return e.Name == was.Name })
		if at < 0 {
			c.forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name))
		} else if !equality.Semantic.DeepEqual(&o.Spec.EphemeralContainers[at], was) {
			c.forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be changed\n", was.Name))
		}
	}
	volumes := make(map[string]*corev1.Volume, len(o.Spec.Volumes))
	for i := range o.Spec.Volumes {
		volumes[o.Spec.Volumes[i].Name] = &o.Spec.Volumes[i]
	}
	var names nameSet
	for _, all := range [][]corev1.Container{o.Spec.Containers, o.Spec.InitContainers} {
		for i := range all {
			names.add(all[i].Name)
		}
	}
	c.ephemeral(p, &o.Spec, volumes, &names)
	return c.errs
}

// checkResize lets resources of containers change that are not over yet, and
// never what follows from them, the pod's class of service.
func checkResize(o, old *corev1.Pod) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec")
	if podFinished(old) {
		c.forbidden(field.NewPath("status", "phase"), fmt.Sprintf("Pod in %s phase cannot be resized", old.Status.Phase))
	}
	sameNames := func(now, was []corev1.Container) bool {
		return slices.EqualFunc(now, was, func(a, b corev1.Container) bool { return a.Name == b.Name })
	}
	if !sameNames(o.Spec.Containers, old.Spec.Containers) || !sameNames(o.Spec.InitContainers, old.Spec.InitContainers) {
		c.forbidden(p, "only cpu and memory resources are mutable")
		return c.errs
	}
	for i := range o.Spec.Containers {
		c.resources(p.Child("containers").Index(i), &o.Spec.Containers[i].Resources)
	}
	for i := range o.Spec.InitContainers {
		c.resources(p.Child("initContainers").Index(i), &o.Spec.InitContainers[i].Resources)
	}
	if was := old.Status.QOSClass; was != "" && was != qosClass(&o.Spec) {
		c.invalid(p, qosClass(&o.Spec), "Pod QOS Class may not change as a result of resizing")
	}
	return c.errs
}
