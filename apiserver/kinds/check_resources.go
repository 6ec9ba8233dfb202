package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// resources checks a container's requests and limits, names of resources by
// named.
func (c *checker) resources(p *path, r *corev1.ResourceRequirements, claims []corev1.PodResourceClaim, named resourceName) {
	if len(r.Limits)+len(r.Requests)+len(r.Claims) == 0 {
		return
	}
	c.requirements(p.Child("resources"), r, claims, named)
}

func (c *checker) requirements(p *path, r *corev1.ResourceRequirements, claims []corev1.PodResourceClaim, named resourceName) {
	c.namedResources(p.Child("limits"), r.Limits, named)
	c.namedResources(p.Child("requests"), r.Requests, named)
	hugePages, basic := false, false
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		for name := range list {
			hugePages = hugePages || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
			basic = basic || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		}
	}
	for name, request := range r.Requests {
		limit, limited := r.Limits[name]
		switch {
		case limited && !overcommits(name) && request.Cmp(limit) != 0:
			c.invalid(p.Child("requests"), request.String(), "must be equal to "+string(name)+" limit of "+limit.String())
		case limited && request.Cmp(limit) > 0:
			c.invalid(p.Child("requests"), request.String(), "must be less than or equal to "+string(name)+" limit of "+limit.String())
		case !limited && !overcommits(name):
			c.required(p.Child("limits"), "Limit must be set for non overcommitable resources")
		}
	}
	if hugePages && !basic {
		c.forbidden(p, "HugePages require cpu or memory")
	}
	c.claimNames(p.Child("claims"), r.Claims, claims)
}

// claimNames checks the claims that a container uses against the pod's own: a
// claim is used as a whole, or by requests of it.
func (c *checker) claimNames(p *path, used []corev1.ResourceClaim, claims []corev1.PodResourceClaim) {
	var names []string
	for i := range claims {
		names = append(names, claims[i].Name)
	}
	slices.Sort(names)
	for i, u := range used {
		at := p.Index(i)
		if u.Name == "" {
			c.required(at, "")
			continue
		}
		if u.Request != "" {
			c.dnsLabel(at, "request", u.Request)
		}
		for _, before := range used[:i] {
			if before.Name != u.Name {
				continue
			}
			if before.Request == u.Request && u.Request != "" {
				c.add(field.Duplicate(at, u.Name+"/"+u.Request))
			} else if before.Request == "" || u.Request == "" {
				c.add(field.Duplicate(at, u.Name))
			}
		}
		if !slices.Contains(names, u.Name) {
			err := field.NotFound(at, u.Name)
			err.Detail = "must be one of the names in pod.spec.resourceClaims"
			if len(names) == 0 {
				err.Detail += " which is empty"
			} else {
				err.Detail += ": " + strings.Join(names, ", ")
			}
			c.add(err)
		}
	}
}

// podClaims checks the claims to devices that a pod brings along.
func (c *checker) podClaims(p *path, claims []corev1.PodResourceClaim) {
	var names nameSet
	for i := range claims {
		o, at := &claims[i], p.Index(i)
		if o.Name != "" && !names.add(o.Name) {
			c.add(field.Duplicate(at.Child("name"), o.Name))
		} else {
			c.dnsLabel(at, "name", o.Name)
		}
		switch {
		case o.ResourceClaimName != nil && o.ResourceClaimTemplateName != nil:
			c.invalid(at, *o, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		case o.ResourceClaimName == nil && o.ResourceClaimTemplateName == nil:
			c.invalid(at, *o, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if n := o.ResourceClaimName; n != nil {
			c.messages(at, "resourceClaimName", *n, validation.IsDNS1123Subdomain(*n))
		}
		if n := o.ResourceClaimTemplateName; n != nil {
			c.messages(at, "resourceClaimTemplateName", *n, validation.IsDNS1123Subdomain(*n))
		}
	}
}

// resourceName says what is wrong with a resource's name where it is used.
type resourceName func(p *path, name corev1.ResourceName) []*field.Error

// plainResource checks a name that any list of resources may have.
func plainResource(p *path, name corev1.ResourceName) []*field.Error {
	if ordinary(name) {
		return nil
	}
	var errs []*field.Error
	for _, m := range validation.IsQualifiedName(string(name)) {
		errs = append(errs, field.Invalid(p, name, m))
	}
	if len(errs) == 0 && !strings.Contains(string(name), "/") && !standardResource(name) {
		errs = append(errs, field.Invalid(p, name, "must be a standard resource type or fully qualified"))
	}
	return errs
}

// ordinary tells the resources that everybody uses, without parsing.
func ordinary(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage
}

func huge(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func standardResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
		corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
		corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceStorage, corev1.ResourceRequestsStorage,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return huge(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

func containerResource(p *path, name corev1.ResourceName) []*field.Error {
	if ordinary(name) {
		return nil
	}
	errs := plainResource(p, name)
	switch {
	case !strings.Contains(string(name), "/"):
		if !huge(name) {
			errs = append(errs, field.Invalid(p, name, "must be a standard resource for containers"))
		}
	case !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix) && !extended(name):
		errs = append(errs, field.Invalid(p, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

// extended tells a resource that somebody else than Kubernetes names, and that
// can have a quota.
func extended(name corev1.ResourceName) bool {
	return !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// podResource is for resources of a pod as a whole.
func podResource(p *path, name corev1.ResourceName) []*field.Error {
	if errs := plainResource(p, name); len(errs) > 0 {
		return errs
	}
	if name == corev1.ResourceCPU || name == corev1.ResourceMemory || huge(name) {
		return nil
	}
	return []*field.Error{field.NotSupported(p, name, []string{"cpu", corev1.ResourceHugePagesPrefix, "memory"})}
}

// podResources checks the resources of a pod as a whole, which hold at least
// what its containers ask for.
func (c *checker) podResources(p *path, s *corev1.PodSpec) {
	r := s.Resources
	if r == nil {
		return
	}
	at := p.Child("resources")
	if s.OS != nil && s.OS.Name == corev1.Windows {
		c.forbidden(at, "may not be set for a windows pod")
		return
	}
	if r.Claims != nil {
		c.forbidden(at.Child("claims"), "claims may not be set for Resources at pod-level")
	}
	c.resources(p, r, s.ResourceClaims, podResource)
	c.podLevel(at, s)
}

// overcommits tells the resources that a node may promise more of than it has.
func overcommits(name corev1.ResourceName) bool {
	return (!strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)) &&
		!strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func (c *checker) containerResourceList(p *path, list corev1.ResourceList) {
	c.namedResources(p, list, containerResource)
}

func (c *checker) namedResources(p *path, list corev1.ResourceList, named resourceName) {
	for name, q := range list {
		at := p.Key(string(name))
		c.add(named(at, name)...)
		c.quantity(p, name, q)
		if !huge(name) {
			continue
		}
		size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
		if err != nil || size.Sign() <= 0 || size.Value() == 0 || q.Value()%size.Value() != 0 {
			c.invalid(at, q.String(), q.String()+" is not positive integer multiple of "+string(name))
		}
	}
}

// resourceList checks names and amounts of any list of resources.
func (c *checker) resourceList(p *path, list corev1.ResourceList) {
	for name, q := range list {
		if strings.Contains(string(name), "/") {
			for _, m := range validation.IsQualifiedName(string(name)) {
				c.invalid(p.Key(string(name)), name, m)
			}
		}
		c.quantity(p, name, q)
	}
}

func (c *checker) quantity(p *path, name corev1.ResourceName, q resource.Quantity) {
	if q.Sign() < 0 {
		c.invalid(p.Key(string(name)), q.String(), isNegative)
	}
	if wholeOnly(name) && q.MilliValue()%1000 != 0 {
		c.invalid(p.Key(string(name)), q, "must be an integer")
	}
}

// wholeOnly tells the resources that there are no parts of: objects, and what
// others name.
func wholeOnly(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix) && extended(name)
}
