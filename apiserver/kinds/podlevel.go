package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	resourcehelper "k8s.io/component-helpers/resource"
)

// The resources of a pod as a whole hold those of its containers together.

// hasPodResources tells a pod that has resources of its own.
func hasPodResources(s *corev1.PodSpec) bool {
	return s.Resources != nil && len(s.Resources.Requests)+len(s.Resources.Limits) > 0
}

// defaultPodResources fills in what a pod as a whole leaves out, once all of its
// containers are there: huge pages have the containers' limits; requests are the
// containers', or else the pod's limits; and what is requested has the
// containers' limits where each of them has one.
func defaultPodResources(o *corev1.Pod) {
	if !hasPodResources(&o.Spec) {
		return
	}
	r := o.Spec.Resources.DeepCopy()
	fill := func(list *corev1.ResourceList, from corev1.ResourceList, fits func(name corev1.ResourceName) bool) {
		for name, q := range from {
			if has(*list, name) || !resourcehelper.IsSupportedPodLevelResource(name) || !fits(name) {
				continue
			}
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[name] = q.DeepCopy()
		}
	}
	containers := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: o.Spec.InitContainers, Containers: o.Spec.Containers}}
	limits := resourcehelper.AggregateContainerLimits(containers, resourcehelper.PodResourcesOptions{})
	fill(&r.Limits, limits, func(name corev1.ResourceName) bool { return huge(name) && !has(r.Requests, name) })
	fill(&r.Requests, resourcehelper.AggregateContainerRequests(containers, resourcehelper.PodResourcesOptions{}), overcommits)
	fill(&r.Requests, r.Limits, func(corev1.ResourceName) bool { return true })
	for name, request := range r.Requests {
		if limit, ok := limits[name]; ok && !has(r.Limits, name) && allLimited(&o.Spec, name) {
			if request.Cmp(limit) > 0 {
				limit = request
			}
			fill(&r.Limits, corev1.ResourceList{name: limit}, func(corev1.ResourceName) bool { return true })
		}
	}
	o.Spec.Resources = r
}

// allLimited tells whether each container has a limit of a resource.
func allLimited(s *corev1.PodSpec, name corev1.ResourceName) bool {
	all := true
	visitContainers(s, func(c *corev1.Container) { all = all && has(c.Resources.Limits, name) })
	return all
}

// keepPodResources keeps what a client leaves out that does not know of it.
func keepPodResources(o, old *corev1.Pod) {
	if o.Spec.Resources == nil {
		o.Spec.Resources = old.Spec.Resources
	}
}

// podLevel checks the resources of a pod as a whole against its containers'.
func (c *checker) podLevel(p *path, s *corev1.PodSpec) {
	r, all := s.Resources, resourcehelper.PodResourcesOptions{}
	pod := &corev1.Pod{Spec: *s}
	for name, sum := range resourcehelper.AggregateContainerRequests(pod, all) {
		if q, ok := r.Requests[name]; ok && sum.Cmp(q) > 0 {
			c.invalid(p.Child("requests").Key(string(name)), q.String(), "must be greater than or equal to aggregate container requests of "+sum.String())
		}
	}
	for name, sum := range resourcehelper.AggregateContainerLimits(pod, all) {
		if q, ok := r.Limits[name]; ok && huge(name) && sum.Cmp(q) > 0 {
			c.invalid(p.Child("limits").Key(string(name)), q.String(), "must be greater than or equal to aggregate container limits of "+sum.String())
		}
	}
	for i := range s.Containers {
		for name, limit := range s.Containers[i].Resources.Limits {
			if q, ok := r.Limits[name]; ok && limit.Cmp(q) > 0 {
				c.invalid(p.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(), "must be less than or equal to pod limits of "+q.String())
			}
		}
	}
}

// podLevelResized checks that of a pod as a whole only processor and memory
// change, and that nothing goes away.
func (c *checker) podLevelResized(p *path, s, old *corev1.PodSpec) {
	if !hasPodResources(s) && !hasPodResources(old) {
		return
	}
	at := p.Child("resources")
	now, was := s.Resources, old.Resources
	if was != nil && now == nil {
		c.forbidden(at, "pod-level resources cannot be removed")
		return
	}
	if was == nil {
		was = &corev1.ResourceRequirements{}
	}
	if dropsBasic(now.Requests, was.Requests) {
		c.forbidden(at.Child("requests"), "pod-level resource requests cannot be removed")
	}
	if dropsBasic(now.Limits, was.Limits) {
		c.forbidden(at.Child("limits"), "pod-level resource limits cannot be removed")
	}
	if !equality.Semantic.DeepEqual(oldBasic(now.Limits, was.Limits), was.Limits) || !equality.Semantic.DeepEqual(oldBasic(now.Requests, was.Requests), was.Requests) {
		c.forbidden(p, "only cpu and memory resources are mutable at pod-level")
	}
}
