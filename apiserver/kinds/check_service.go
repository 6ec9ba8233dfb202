package kinds

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

func checkService(o, old *corev1.Service) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	c.servicePorts(p, s)
	c.serviceType(p, s)
	if len(s.Selector) > 0 {
		c.labels(p.Child("selector"), s.Selector)
	}
	c.affinityOf(p, s)
	c.clusterIPs(p, s)
	for i, ip := range s.ExternalIPs {
		c.externalIP(p.Child("externalIPs").Index(i), ip)
	}
	c.trafficPolicies(p, s)
	c.loadBalancer(p, s)
	if old != nil {
		c.serviceUpdate(p, s, &old.Spec)
	}
	return c.errs
}

func (c *checker) serviceType(p *path, s *corev1.ServiceSpec) {
	oneOf(c, p, "type", s.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	switch {
	case s.Type == corev1.ServiceTypeExternalName:
		if s.ExternalName == "" {
			c.required(p.Child("externalName"), "")
		} else {
			c.messages(p, "externalName", s.ExternalName, validation.IsDNS1123Subdomain(strings.TrimSuffix(strings.ToLower(s.ExternalName), ".")))
		}
	case hasNodePort(s.Type) && s.ClusterIP == corev1.ClusterIPNone:
		c.invalid(p.Child("clusterIPs").Index(0), s.ClusterIP, "may not be set to 'None' for "+string(s.Type)+" services")
	}
}

func (c *checker) servicePorts(p *path, s *corev1.ServiceSpec) {
	headless := s.ClusterIP == corev1.ClusterIPNone
	if len(s.Ports) == 0 && !headless && s.Type != corev1.ServiceTypeExternalName {
		c.required(p.Child("ports"), "")
	}
	var names, ports, nodePorts nameSet
	for i := range s.Ports {
		port := &s.Ports[i]
		at := p.Child("ports").Index(i)
		if port.Name == "" {
			if len(s.Ports) > 1 {
				c.required(at.Child("name"), "")
			}
		} else {
			c.dnsLabel(at, "name", port.Name)
			if !names.add(port.Name) {
				c.add(field.Duplicate(at.Child("name"), port.Name))
			}
		}
		c.port(at, "port", port.Port)
		protocol(c, at, port.Protocol)
		c.portNameOrNumber(at, "targetPort", port.TargetPort)
		if port.AppProtocol != nil {
			c.messages(at, "appProtocol", *port.AppProtocol, validation.IsQualifiedName(*port.AppProtocol))
		}
		if !ports.add(fmt.Sprint(port.Protocol, port.Port)) {
			c.add(field.Duplicate(at, corev1.ServicePort{Protocol: port.Protocol, Port: port.Port}))
		}
		if port.NodePort == 0 {
			continue
		}
		if s.Type == corev1.ServiceTypeClusterIP {
			c.forbidden(at.Child("nodePort"), "may not be used when `type` is '"+string(s.Type)+"'")
			continue
		}
		if !nodePorts.add(fmt.Sprint(port.Protocol, port.NodePort)) {
			c.add(field.Duplicate(at.Child("nodePort"), port.NodePort))
		}
	}
}

func (c *checker) affinityOf(p *path, s *corev1.ServiceSpec) {
	oneOf(c, p, "sessionAffinity", s.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	at := p.Child("sessionAffinityConfig")
	if s.SessionAffinity != corev1.ServiceAffinityClientIP {
		if s.SessionAffinity == corev1.ServiceAffinityNone && s.SessionAffinityConfig != nil {
			c.forbidden(at, "must not be set when session affinity is "+string(corev1.ServiceAffinityNone))
		}
		return
	}
	const day = 86400
	if cfg := s.SessionAffinityConfig; cfg == nil || cfg.ClientIP == nil || cfg.ClientIP.TimeoutSeconds == nil {
		c.required(at, "when session affinity type is ClientIP")
	} else if t := *cfg.ClientIP.TimeoutSeconds; t <= 0 || t > day {
		c.invalid(at.Child("clientIP", "timeoutSeconds"), t, fmt.Sprintf("must be greater than 0 and less than %d", day))
	}
}

// clusterIPs checks the addresses as far as they can be without knowing what
// is allocated: that is the write path's part.
func (c *checker) clusterIPs(p *path, s *corev1.ServiceSpec) {
	at := p.Child("clusterIPs")
	if s.Type == corev1.ServiceTypeExternalName {
		if len(s.ClusterIPs) > 0 || s.ClusterIP != "" {
			c.forbidden(at, "may not be set for ExternalName services")
		}
		if len(s.IPFamilies) > 0 {
			c.forbidden(p.Child("ipFamilies"), "may not be set for ExternalName services")
		}
		if s.IPFamilyPolicy != nil {
			c.forbidden(p.Child("ipFamilyPolicy"), "may not be set for ExternalName services")
		}
		return
	}
	switch {
	case s.ClusterIP != "" && len(s.ClusterIPs) == 0:
		c.required(at, "")
	case s.ClusterIP == "" && len(s.ClusterIPs) > 0:
		c.invalid(at, s.ClusterIPs, "must be empty when `clusterIP` is not specified")
	case len(s.ClusterIPs) > 0 && s.ClusterIPs[0] != s.ClusterIP:
		c.invalid(at, s.ClusterIPs, "first value must match `clusterIP`")
	}
	if len(s.ClusterIPs) > 2 {
		c.invalid(at, s.ClusterIPs, "may only hold up to 2 values")
	}
	wrong := false
	for i, ip := range s.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			if len(s.ClusterIPs) > 1 {
				c.invalid(at.Index(i), ip, "'None' must be the first and only value")
			}
			continue
		}
		before := len(c.errs)
		c.ip(at.Index(i), ip)
		wrong = wrong || len(c.errs) > before
	}
	if !wrong && s.ClusterIP != corev1.ClusterIPNone {
		c.familiesOf(at, s)
	}
	oneOfPtr(c, p, "ipFamilyPolicy", s.IPFamilyPolicy, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)
	var families nameSet
	for i, f := range s.IPFamilies {
		if f != corev1.IPv4Protocol && f != corev1.IPv6Protocol {
			c.add(field.NotSupported(p.Child("ipFamilies").Index(i), f, []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}))
		}
		if !families.add(string(f)) {
			c.add(field.Duplicate(p.Child("ipFamilies").Index(i), f))
		}
	}
}

// familiesOf checks valid addresses against each other, and against the families
// that a Service asks for.
func (c *checker) familiesOf(p *path, s *corev1.ServiceSpec) {
	if len(s.ClusterIPs) > 1 {
		if both, err := netutils.IsDualStackIPStrings(s.ClusterIPs); err == nil && !both {
			c.invalid(p, s.ClusterIPs, "may specify no more than one IP for each IP family")
		}
	}
	for i, ip := range s.ClusterIPs[:min(len(s.ClusterIPs), len(s.IPFamilies))] {
		want := s.IPFamilies[i]
		if six := netutils.IsIPv6String(ip); want == corev1.IPv4Protocol && six || want == corev1.IPv6Protocol && !six {
			c.invalid(p.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", want, i))
		}
	}
}

// externalIP refuses addresses that would take traffic meant for the node.
func (c *checker) externalIP(p *path, value string) {
	ip, err := netip.ParseAddr(value)
	switch {
	case err != nil:
		c.ip(p, value)
	case ip.IsUnspecified():
		c.invalid(p, value, "may not be unspecified ("+value+")")
	case ip.IsLoopback():
		c.invalid(p, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	case ip.IsLinkLocalUnicast():
		c.invalid(p, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	case ip.IsLinkLocalMulticast():
		c.invalid(p, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
}

func (c *checker) trafficPolicies(p *path, s *corev1.ServiceSpec) {
	if reachableFromOutside(s) {
		oneOf(c, p, "externalTrafficPolicy", s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	} else if s.ExternalTrafficPolicy != "" {
		c.invalid(p.Child("externalTrafficPolicy"), s.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	if s.InternalTrafficPolicy == nil {
		if hasClusterIP(s.Type) {
			c.required(p.Child("internalTrafficPolicy"), "")
		}
	} else {
		oneOfPtr(c, p, "internalTrafficPolicy", s.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	}
	oneOfPtr(c, p, "trafficDistribution", s.TrafficDistribution, corev1.ServiceTrafficDistributionPreferClose,
		corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)
	if s.HealthCheckNodePort != 0 {
		if s.Type != corev1.ServiceTypeLoadBalancer || s.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			c.invalid(p.Child("healthCheckNodePort"), s.HealthCheckNodePort,
				"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
		} else {
			c.port(p, "healthCheckNodePort", s.HealthCheckNodePort)
		}
	}
}

func (c *checker) loadBalancer(p *path, s *corev1.ServiceSpec) {
	for i, r := range s.LoadBalancerSourceRanges {
		c.cidr(p.Child("LoadBalancerSourceRanges").Index(i), strings.TrimSpace(r))
	}
	if s.Type == corev1.ServiceTypeLoadBalancer {
		return
	}
	if len(s.LoadBalancerSourceRanges) > 0 {
		c.forbidden(p.Child("LoadBalancerSourceRanges"), "may only be used when `type` is 'LoadBalancer'")
	}
	if s.AllocateLoadBalancerNodePorts != nil {
		c.forbidden(p.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'")
	}
	if s.LoadBalancerClass != nil {
		c.forbidden(p.Child("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'")
	}
}

func (c *checker) serviceUpdate(p *path, s, old *corev1.ServiceSpec) {
	at := p.Child("clusterIPs")
	if hasClusterIP(s.Type) && hasClusterIP(old.Type) && len(old.ClusterIPs) > 0 {
		switch {
		case len(s.ClusterIPs) == 0:
			c.invalid(at.Index(0), s.ClusterIPs, "primary clusterIP can not be unset")
		case s.ClusterIPs[0] != old.ClusterIPs[0]:
			c.invalid(at.Index(0), s.ClusterIPs, "may not change once set")
		case len(old.ClusterIPs) == 2 && len(s.ClusterIPs) == 2 && s.ClusterIPs[1] != old.ClusterIPs[1]:
			c.invalid(at.Index(1), s.ClusterIPs, "may not change once set")
		}
		if len(s.IPFamilies) > 0 && len(old.IPFamilies) > 0 && !slices.Equal(s.IPFamilies[:1], old.IPFamilies[:1]) {
			c.invalid(p.Child("ipFamilies").Index(0), s.IPFamilies, "may not change once set")
		}
	}
	if s.Type == corev1.ServiceTypeLoadBalancer && old.Type == corev1.ServiceTypeLoadBalancer &&
		deref(s.LoadBalancerClass, "") != deref(old.LoadBalancerClass, "") {
		c.invalid(p.Child("loadBalancerClass"), s.LoadBalancerClass, "may not change once set")
	}
}

func checkServiceStatus(o, _ *corev1.Service) fieldErrors {
	c := &checker{}
	p := field.NewPath("status", "loadBalancer", "ingress")
	if o.Spec.Type != corev1.ServiceTypeLoadBalancer && len(o.Status.LoadBalancer.Ingress) > 0 {
		c.forbidden(p, "may only be used when `spec.type` is 'LoadBalancer'")
		return c.errs
	}
	for i, in := range o.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			c.ip(p.Index(i).Child("ip"), in.IP)
		}
		if in.Hostname != "" {
			c.messages(p.Index(i), "hostname", in.Hostname, validation.IsDNS1123Subdomain(in.Hostname))
		}
	}
	return c.errs
}

// serviceWarnings tells what a Service asks for that nobody will do, and
// addresses that are written in an unusual way.
func serviceWarnings(o, _ *corev1.Service) []string {
	p, s := field.NewPath("spec"), &o.Spec
	var all []string
	add := func(set bool, what string) {
		if set {
			all = append(all, what)
		}
	}
	headless := s.Type == corev1.ServiceTypeClusterIP && s.ClusterIP == corev1.ClusterIPNone
	external := s.Type == corev1.ServiceTypeExternalName
	add(headless && s.LoadBalancerIP != "", "spec.loadBalancerIP is ignored for headless services")
	add(headless && len(s.ExternalIPs) > 0, "spec.externalIPs is ignored for headless services")
	add(headless && s.SessionAffinity != corev1.ServiceAffinityNone, "spec.SessionAffinity is ignored for headless services")
	add(len(s.ExternalIPs) > 0 && !headless && !external, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	add(external && len(s.ExternalIPs) > 0, `spec.externalIPs is ignored when spec.type is "ExternalName"`)
	add(!external && s.ExternalName != "", `spec.externalName is ignored when spec.type is not "ExternalName"`)
	if hasClusterIP(s.Type) && s.ClusterIP != corev1.ClusterIPNone {
		all = append(all, addressWarnings(p.Child("clusterIPs"), s.ClusterIPs)...)
	}
	all = append(all, addressWarnings(p.Child("externalIPs"), s.ExternalIPs)...)
	if _, err := netip.ParseAddr(s.LoadBalancerIP); err == nil {
		all = append(all, validation.GetWarningsForIP(p.Child("loadBalancerIP"), s.LoadBalancerIP)...)
	}
	for i, r := range s.LoadBalancerSourceRanges {
		if _, err := netip.ParsePrefix(strings.TrimSpace(r)); err != nil {
			continue
		}
		all = append(all, validation.GetWarningsForCIDR(p.Child("loadBalancerSourceRanges").Index(i), r)...)
	}
	return all
}

func addressWarnings(p *path, addresses []string) []string {
	var all []string
	for i, a := range addresses {
		if _, err := netip.ParseAddr(a); err == nil {
			all = append(all, validation.GetWarningsForIP(p.Index(i), a)...)
		}
	}
	return all
}
