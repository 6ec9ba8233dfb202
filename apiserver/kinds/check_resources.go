package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// resources checks a container's requests and limits.
func (c *checker) resources(p *path, r *corev1.ResourceRequirements) {
	if len(r.Limits)+len(r.Requests)+len(r.Claims) == 0 {
		return
	}
	p = p.Child("resources")
	c.containerResourceList(p.Child("limits"), r.Limits)
	c.containerResourceList(p.Child("requests"), r.Requests)
	hugePages, basic := false, false
	for name := range r.Limits {
		hugePages = hugePages || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		basic = basic || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for name, request := range r.Requests {
		basic = basic || name == corev1.ResourceCPU || name == corev1.ResourceMemory
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
}

// overcommits tells the resources that a node may promise more of than it has.
func overcommits(name corev1.ResourceName) bool {
	return (!strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)) &&
		!strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func (c *checker) containerResourceList(p *path, list corev1.ResourceList) {
	for name := range list {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage,
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
		case !strings.Contains(string(name), "/"):
			c.invalid(p.Key(string(name)), name, "must be a standard resource for containers")
		}
	}
	c.resourceList(p, list)
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
	if !overcommits(name) && q.MilliValue()%1000 != 0 {
		c.invalid(p.Key(string(name)), q.String(), "must be an integer")
	}
}
