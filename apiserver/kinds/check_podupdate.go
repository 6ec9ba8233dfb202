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
	if len(s.Containers) != len(old.Containers) {
		c.forbidden(p.Child("containers"), "pod updates may not add or remove containers")
		return
	}
	if len(s.InitContainers) != len(old.InitContainers) {
		c.forbidden(p.Child("initContainers"), "pod updates may not add or remove containers")
		return
	}
	c.deadlineUpdate(p, s, old)
	c.tolerationsUpdate(p.Child("tolerations"), s.Tolerations, old.Tolerations)
	c.gatesUpdate(p.Child("schedulingGates"), s, old)
	if !equality.Semantic.DeepEqual(mayChange(s, old), old) {
		c.forbidden(p, podFixed)
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
			c.forbidden(p.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name))
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
	c := &checker{isPod: true}
	c.podSpec(field.NewPath("spec"), &o.Spec)
	c.onlyPod(field.NewPath("spec"), &o.Spec)
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
	return c.errs
}

const onlyBasic = "only cpu and memory resources are mutable"

// checkResize lets cpu and memory of containers that are not over yet change,
// and never what follows from them, the pod's class of service.
func checkResize(o, old *corev1.Pod) fieldErrors {
	c := &checker{isPod: true}
	p := field.NewPath("spec")
	c.podSpec(p, &o.Spec)
	c.onlyPod(p, &o.Spec)
	if podFinished(old) {
		c.forbidden(field.NewPath("status", "phase"), fmt.Sprintf("Pod in %s phase cannot be resized", old.Status.Phase))
	}
	if was := old.Status.QOSClass; was != "" && was != qosClass(&o.Spec) {
		c.invalid(p, o.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	c.podLevelResized(p, &o.Spec, &old.Spec)
	if !c.sameContainers(p, "containers", o.Spec.Containers, old.Spec.Containers) ||
		!c.sameContainers(p, "initContainers", o.Spec.InitContainers, old.Spec.InitContainers) {
		return c.errs
	}
	for i := range o.Spec.Containers {
		now, was := &o.Spec.Containers[i], &old.Spec.Containers[i]
		c.resourcesKept(p.Child("containers").Index(i), now, was)
		if !equality.Semantic.DeepEqual(withoutBasic(now, was), was) {
			c.forbidden(p, onlyBasic)
		}
	}
	for i := range o.Spec.InitContainers {
		now, was := &o.Spec.InitContainers[i], &old.Spec.InitContainers[i]
		at := p.Child("initContainers").Index(i)
		c.resourcesKept(at, now, was)
		if !equality.Semantic.DeepEqual(withoutBasic(now, was), was) {
			c.forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable")
		}
	}
	return c.errs
}

// sameContainers tells whether containers can be compared one by one.
func (c *checker) sameContainers(p *path, list string, now, was []corev1.Container) bool {
	if len(now) != len(was) {
		c.forbidden(p.Child(list), list+" may not be added or removed on resize")
		return false
	}
	ok := true
	for i := range now {
		if now[i].Name != was[i].Name {
			c.forbidden(p.Child(list).Index(i).Child("name"), list+" may not be renamed or reordered on resize")
			ok = false
		}
	}
	return ok
}

// resourcesKept refuses that requests and limits go away: they only change.
func (c *checker) resourcesKept(p *path, now, was *corev1.Container) {
	at := p.Child("resources")
	if dropsBasic(now.Resources.Limits, was.Resources.Limits) {
		c.forbidden(at, "resource limits cannot be removed")
	}
	if dropsBasic(now.Resources.Requests, was.Resources.Requests) {
		c.forbidden(at, "resource requests cannot be removed")
	}
}

func dropsBasic(now, was corev1.ResourceList) bool {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if _, had := was[name]; had {
			if _, has := now[name]; !has {
				return true
			}
		}
	}
	return false
}

// withoutBasic is the container with the old one's cpu and memory.
func withoutBasic(now, was *corev1.Container) *corev1.Container {
	c := *now
	c.Resources.Limits = oldBasic(now.Resources.Limits, was.Resources.Limits)
	c.Resources.Requests = oldBasic(now.Resources.Requests, was.Resources.Requests)
	return &c
}

func oldBasic(now, was corev1.ResourceList) corev1.ResourceList {
	list := make(corev1.ResourceList, len(now))
	for name, q := range now {
		list[name] = q
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(list, name)
		if q, ok := was[name]; ok {
			list[name] = q
		}
	}
	return list
}
