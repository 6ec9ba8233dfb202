package kinds

import (
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

func checkNode(o, old *corev1.Node) fieldErrors {
	c := &checker{}
	spec, status := field.NewPath("spec"), field.NewPath("status")
	var taints nameSet
	for i := range o.Spec.Taints {
		t := &o.Spec.Taints[i]
		// Where they were annotations, once.
		at := field.NewPath("metadata", "taints").Index(i)
		c.add(metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		c.messages(at, "value", t.Value, validation.IsValidLabelValue(t.Value))
		c.taintEffect(at.Child("effect"), t.Effect)
		if !taints.add(t.Key + ":" + string(t.Effect)) {
			c.add(&field.Error{Type: field.ErrorTypeDuplicate, Field: at.String(), BadValue: *t, Detail: "taints must be unique by key and effect pair"})
		}
	}
	c.podRanges(spec.Child("podCIDRs"), o.Spec.PodCIDRs)
	c.nodeAmounts(status.Child("capacity"), o.Status.Capacity)
	c.nodeAmounts(status.Child("allocatable"), o.Status.Allocatable)
	c.declaredFeatures(status.Child("declaredFeatures"), o.Status.DeclaredFeatures)
	var addresses nameSet
	for i, a := range o.Status.Addresses {
		if !addresses.add(string(a.Type) + "/" + a.Address) {
			c.add(field.Duplicate(status.Child("addresses").Index(i), a))
		}
	}
	if old != nil {
		c.nodeUpdate(spec, &o.Spec, &old.Spec)
	}
	return c.errs
}

var featureName = regexp.MustCompile(`^[A-Z][[:alnum:]]*(/[[:alpha:]][[:alnum:]]*)*$`)

// declaredFeatures checks the sorted names of what a node's agent can do.
func (c *checker) declaredFeatures(p *path, features []string) {
	for i, f := range features {
		if len(f) > validation.DNS1123SubdomainMaxLength {
			c.invalid(p.Index(i), f, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", f, validation.DNS1123SubdomainMaxLength))
		} else if !featureName.MatchString(f) {
			c.invalid(p.Index(i), f, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", f))
		}
		switch {
		case i > 0 && features[i-1] == f:
			c.add(field.Duplicate(p.Index(i), f))
		case i > 0 && features[i-1] > f:
			c.invalid(p.Index(i), f, "list must be sorted alphabetically")
		}
	}
}

// podRanges checks a node's ranges: one, or one of each family.
func (c *checker) podRanges(p *path, ranges []string) {
	for i, r := range ranges {
		c.cidr(p.Index(i), r)
	}
	if len(ranges) < 2 {
		return
	}
	both, err := netutils.IsDualStackCIDRStrings(ranges)
	if err != nil {
		c.add(field.InternalError(p, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%w", err)))
	}
	if !both || len(ranges) > 2 {
		c.invalid(p, ranges, "may specify no more than one CIDR for each IP family")
	}
}

// nodeAmounts tells of resources by their names as fields.
func (c *checker) nodeAmounts(p *path, list corev1.ResourceList) {
	for name, q := range list {
		at := p.Child(string(name))
		if q.Sign() < 0 {
			c.invalid(at, q.String(), isNegative)
		}
		if wholeOnly(name) && q.MilliValue()%1000 != 0 {
			c.invalid(at, q, "must be an integer")
		}
	}
}

// nodeUpdate lets what names the machine be set once.
func (c *checker) nodeUpdate(p *path, s, old *corev1.NodeSpec) {
	if old.ProviderID != "" && s.ProviderID != old.ProviderID {
		c.forbidden(p.Child("providerID"), "node updates may not change providerID except from \"\" to valid")
	}
	if s.DoNotUseExternalID != old.DoNotUseExternalID {
		c.forbidden(p.Child("externalID"), "may not be updated")
	}
	if len(old.PodCIDRs) > 0 && !equality.Semantic.DeepEqual(s.PodCIDRs, old.PodCIDRs) {
		c.forbidden(p.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid")
	}
}

// nodeWarnings tells of fields that do nothing any more.
func nodeWarnings(o, _ *corev1.Node) []string {
	var all []string
	if o.Spec.ConfigSource != nil {
		all = append(all, "spec.configSource: the feature is removed")
	}
	if o.Spec.DoNotUseExternalID != "" {
		all = append(all, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	return all
}
