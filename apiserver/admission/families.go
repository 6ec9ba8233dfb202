package admission

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// dropSecondary gives up the second family of a Service that becomes single
// stack, unless the writer has chosen anew what it wants to have.
func dropSecondary(s, old *corev1.Service) {
	if ptr.Deref(s.Spec.IPFamilyPolicy, "") != corev1.IPFamilyPolicySingleStack || len(old.Spec.IPFamilies) < 2 {
		return
	}
	if len(s.Spec.ClusterIPs) > 1 && slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
		s.Spec.ClusterIPs = s.Spec.ClusterIPs[:1]
	}
	if len(s.Spec.IPFamilies) > 1 && slices.Equal(s.Spec.IPFamilies, old.Spec.IPFamilies) {
		s.Spec.IPFamilies = s.Spec.IPFamilies[:1]
	}
}

// settleFamilies fills in ipFamilyPolicy and ipFamilies from what the Service
// says of either and from its addresses, and refuses what does not fit
// together or what the cluster does not have. configured are the cluster's
// families, the preferred one first.
//
// Source: KEP-563 and the page on dual-stack services.
func settleFamilies(s *corev1.Service, configured []corev1.IPFamily) field.ErrorList {
	if len(s.Spec.IPFamilies) > 2 || len(s.Spec.ClusterIPs) > 2 {
		return nil // validation says so
	}
	if errs := familiesOfAddresses(s); len(errs) > 0 {
		return errs
	}
	// What nothing selects for is given its endpoints by hand, of any family.
	anything := headless(s) && len(s.Spec.Selector) == 0
	if s.Spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if len(s.Spec.IPFamilies) == 2 || anything && len(s.Spec.IPFamilies) == 0 {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		s.Spec.IPFamilyPolicy = &policy
	}
	if !anything {
		if errs := offered(s, configured); len(errs) > 0 {
			return errs
		}
	}
	single := *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	if single && (len(s.Spec.IPFamilies) > 1 || len(s.Spec.ClusterIPs) > 1) {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *s.Spec.IPFamilyPolicy,
			"must be RequireDualStack or PreferDualStack when multiple 'ipFamilies' or 'clusterIPs' are specified")}
	}
	if len(s.Spec.IPFamilies) == 0 {
		s.Spec.IPFamilies = []corev1.IPFamily{configured[0]}
	}
	if !single && len(s.Spec.IPFamilies) == 1 && (anything || len(configured) == 2) {
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, otherFamily(s.Spec.IPFamilies[0]))
	}
	return nil
}

// familiesOfAddresses derives the families that are not named from the
// addresses that are, and compares where both are.
func familiesOfAddresses(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	for i, text := range s.Spec.ClusterIPs {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue // "None", or validation says what is wrong
		}
		switch family := familyOf(ip); {
		case i == len(s.Spec.IPFamilies):
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, family)
		case i < len(s.Spec.IPFamilies) && s.Spec.IPFamilies[i] != family:
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), text,
				fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", s.Spec.IPFamilies[i], i)))
		}
	}
	return errs
}

// offered compares what a Service wants with what the cluster has.
func offered(s *corev1.Service, configured []corev1.IPFamily) field.ErrorList {
	var errs field.ErrorList
	for i, family := range s.Spec.IPFamilies {
		if !slices.Contains(configured, family) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	if *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(configured) < 2 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *s.Spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	return errs
}
