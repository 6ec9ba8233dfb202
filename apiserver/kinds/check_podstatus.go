package kinds

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// claimStatuses checks what is told of a pod's claims to devices against what
// the pod asks for.
func (c *checker) claimStatuses(p *path, s *corev1.PodStatus, spec *corev1.PodSpec) {
	var names nameSet
	for i, r := range s.ResourceClaimStatuses {
		at := p.Child("resourceClaimStatuses").Index(i)
		if !slices.ContainsFunc(spec.ResourceClaims, func(o corev1.PodResourceClaim) bool { return o.Name == r.Name }) {
			c.invalid(at.Child("name"), r.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if !names.add(r.Name) {
			c.add(field.Duplicate(at.Child("name"), r.Name))
		}
		if n := r.ResourceClaimName; n != nil {
			c.messages(at, "resourceClaimName", *n, validation.IsDNS1123Subdomain(*n))
		}
	}
	if s.ExtendedResourceClaimStatus != nil {
		c.extendedClaim(p.Child("extendedResourceClaimStatus"), s.ExtendedResourceClaimStatus, spec)
	}
}

// containerNamed finds a container that runs on its own or before the others.
func containerNamed(s *corev1.PodSpec, name string) *corev1.Container {
	for _, containers := range [...][]corev1.Container{s.Containers, s.InitContainers} {
		for i := range containers {
			if containers[i].Name == name {
				return &containers[i]
			}
		}
	}
	return nil
}

// extendedClaim checks the claim that was made for resources of containers.
func (c *checker) extendedClaim(p *path, s *corev1.PodExtendedResourceClaimStatus, spec *corev1.PodSpec) {
	if len(s.RequestMappings) == 0 {
		c.required(p.Child("requestMappings"), "at least one request mapping is required")
	}
	for i, m := range s.RequestMappings {
		at := p.Child("requestMappings").Index(i)
		if o := containerNamed(spec, m.ContainerName); o == nil {
			c.invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name")
		} else if _, ok := o.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			c.invalid(at.Child("resourceName"), m.ResourceName, "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")
		}
		c.messages(p, "requestName", m.RequestName, validation.IsDNS1123Label(m.RequestName))
		if slices.Contains(s.RequestMappings[:i], m) {
			c.add(field.Duplicate(at.Child("containerName"), m.ContainerName), field.Duplicate(at.Child("resourceName"), m.ResourceName),
				field.Duplicate(at.Child("requestName"), m.RequestName))
		}
	}
	if s.ResourceClaimName == "" {
		c.required(p.Child("resourceClaimName"), "")
	} else {
		c.messages(p, "resourceClaimName", s.ResourceClaimName, validation.IsDNS1123Subdomain(s.ResourceClaimName))
	}
}

func (c *checker) containerStatuses(p *path, s *corev1.PodStatus, spec *corev1.PodSpec) {
	for _, list := range [...]struct {
		name string
		all  []corev1.ContainerStatus
		of   []corev1.Container
	}{{"initContainerStatuses", s.InitContainerStatuses, spec.InitContainers}, {"containerStatuses", s.ContainerStatuses, spec.Containers}, {"ephemeralContainerStatuses", s.EphemeralContainerStatuses, nil}} {
		for i := range list.all {
			o := &list.all[i]
			if o.User != nil {
				c.runningUser(p.Child(list.name).Index(i).Child("user", "linux"), o.User.Linux, spec.OS)
			}
			if len(o.AllocatedResourcesStatus) == 0 {
				continue
			}
			at := p.Child(list.name).Index(i).Child("allocatedResourcesStatus")
			if list.name == "ephemeralContainerStatuses" {
				c.forbidden(at, "must not be specified in container status")
				continue
			}
			var of *corev1.Container
			if j := slices.IndexFunc(list.of, func(of corev1.Container) bool { return of.Name == o.Name }); j >= 0 {
				of = &list.of[j]
			}
			for j := range o.AllocatedResourcesStatus {
				c.resourceStatus(at.Index(j), &o.AllocatedResourcesStatus[j], of, s.ExtendedResourceClaimStatus)
			}
		}
	}
}

// runningUser checks the identity that a process was seen with.
func (c *checker) runningUser(p *path, u *corev1.LinuxContainerUser, os *corev1.PodOS) {
	if u == nil {
		return
	}
	if os != nil && os.Name == corev1.Windows {
		c.forbidden(p, "cannot be set for a windows pod")
		return
	}
	if u.UID < 0 || u.UID > math.MaxUint32 {
		c.invalid(p.Child("uid"), u.UID, fmt.Sprintf("must be between 0 and %d, inclusive", int64(math.MaxUint32)))
	}
	c.messages(p, "gid", u.GID, validation.IsValidGroupID(u.GID))
	for i, g := range u.SupplementalGroups {
		for _, m := range validation.IsValidGroupID(g) {
			c.invalid(p.Child("supplementalGroups").Index(i), g, m)
		}
	}
}

// resourceStatus checks what is told of a container's devices; of is nil for a
// container that the pod does not have.
func (c *checker) resourceStatus(p *path, s *corev1.ResourceStatus, of *corev1.Container, extended *corev1.PodExtendedResourceClaimStatus) {
	if of != nil {
		claim, claimed := strings.CutPrefix(string(s.Name), "claim:")
		switch {
		case claimed && !usesClaim(of, claim, extended):
			c.invalid(p.Child("name"), s.Name, "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty")
		case !claimed && !has(of.Resources.Requests, s.Name):
			c.invalid(p.Child("name"), s.Name, "must match one of the container's resource requests")
		}
	}
	for i, r := range s.Resources {
		at := p.Child("resources").Index(i)
		oneOfPtr(c, at, "health", &r.Health, corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
		if m := r.Message; m != nil && *m == "" {
			c.required(at.Child("message"), "must be non-empty if specified")
		} else if m != nil && len(*m) > corev1.ResourceHealthMessageMaxLength {
			c.add(field.TooLong(at.Child("message"), "", corev1.ResourceHealthMessageMaxLength))
		}
		if slices.ContainsFunc(s.Resources[:i], func(o corev1.ResourceHealth) bool { return o.ResourceID == r.ResourceID }) {
			c.add(field.Duplicate(at.Child("resourceID"), r.ResourceID))
		}
	}
}

func has(list corev1.ResourceList, name corev1.ResourceName) bool {
	_, ok := list[name]
	return ok
}

// usesClaim tells whether a container uses the claim, or the request of it,
// itself or through the claim for its extended resources.
func usesClaim(of *corev1.Container, claim string, extended *corev1.PodExtendedResourceClaimStatus) bool {
	name, request, _ := strings.Cut(claim, "/")
	if slices.ContainsFunc(of.Resources.Claims, func(u corev1.ResourceClaim) bool { return u.Name == name && u.Request == request }) {
		return true
	}
	return extended != nil && name == extended.ResourceClaimName && request != "" &&
		slices.ContainsFunc(extended.RequestMappings, func(m corev1.ContainerExtendedResourceRequest) bool {
			q := of.Resources.Requests[corev1.ResourceName(m.ResourceName)]
			return m.ContainerName == of.Name && m.RequestName == request && !q.IsZero()
		})
}
