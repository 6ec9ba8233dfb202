package kinds

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 20000
	maxSliceAddresses = 100
)

func checkEndpointSlice(o, old *discoveryv1.EndpointSlice) fieldErrors {
	c := &checker{}
	oneOf(c, nil, "addressType", o.AddressType, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	endpoints := field.NewPath("endpoints")
	if len(o.Endpoints) > maxSliceEndpoints {
		c.add(field.TooMany(endpoints, len(o.Endpoints), maxSliceEndpoints))
		return c.errs
	}
	for i := range o.Endpoints {
		c.endpoint(endpoints.Index(i), &o.Endpoints[i], o.AddressType)
	}
	ports := field.NewPath("ports")
	if len(o.Ports) > maxSlicePorts {
		c.add(field.TooMany(ports, len(o.Ports), maxSlicePorts))
		return c.errs
	}
	var names nameSet
	for i := range o.Ports {
		port := &o.Ports[i]
		at := ports.Index(i)
		name := deref(port.Name, "")
		if name != "" {
			c.dnsLabel(at, "name", name)
		}
		if !names.add(name) {
			c.add(field.Duplicate(at.Child("name"), name))
		}
		protocol(c, at, deref(port.Protocol, ""))
		if port.Port != nil {
			c.port(at, "port", *port.Port)
		}
		if a := port.AppProtocol; a != nil {
			c.messages(at, "appProtocol", *a, validation.IsQualifiedName(*a))
		}
	}
	if old != nil {
		same(c, nil, "addressType", o.AddressType, old.AddressType)
	}
	return c.errs
}

func (c *checker) endpoint(p *path, e *discoveryv1.Endpoint, t discoveryv1.AddressType) {
	at := p.Child("addresses")
	if len(e.Addresses) == 0 {
		c.required(at, "must contain at least 1 address")
	} else if len(e.Addresses) > maxSliceAddresses {
		c.add(field.TooMany(at, len(e.Addresses), maxSliceAddresses))
	}
	for i, a := range e.Addresses {
		ip, err := netip.ParseAddr(a)
		switch {
		case t == discoveryv1.AddressTypeFQDN:
			c.messages(at, "", a, validation.IsDNS1123Subdomain(a))
		case err != nil:
			c.ip(at.Index(i), a)
		case t == discoveryv1.AddressTypeIPv4 && !ip.Is4():
			c.invalid(at.Index(i), a, "must be an IPv4 address")
		case t == discoveryv1.AddressTypeIPv6 && !ip.Is6():
			c.invalid(at.Index(i), a, "must be an IPv6 address")
		default:
			c.externalIP(at.Index(i), a)
		}
	}
	if e.NodeName != nil {
		c.dnsSubdomain(p, "nodeName", *e.NodeName)
	}
	if h := e.Hostname; h != nil {
		c.dnsLabel(p, "hostname", *h)
	}
	if e.Hints == nil {
		return
	}
	for i := range e.Hints.ForZones {
		if z := e.Hints.ForZones[i].Name; !plainLabel(z) {
			c.messages(p.Child("hints", "forZones").Index(i), "name", z, validation.IsValidLabelValue(z))
		}
	}
	for i := range e.Hints.ForNodes {
		if n := e.Hints.ForNodes[i].Name; !plainLabel(n) {
			c.messages(p.Child("hints", "forNodes").Index(i), "name", n, validation.IsDNS1123Subdomain(n))
		}
	}
}

func checkIngress(o, _ *networkingv1.Ingress) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		c.invalid(p, s.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if s.DefaultBackend != nil {
		c.ingressBackend(p.Child("defaultBackend"), s.DefaultBackend)
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		at := p.Child("rules").Index(i)
		c.ingressHost(at.Child("host"), r.Host)
		if r.HTTP == nil {
			continue
		}
		if len(r.HTTP.Paths) == 0 {
			c.required(at.Child("http", "paths"), "")
		}
		for j := range r.HTTP.Paths {
			c.ingressPath(at.Child("http", "paths").Index(j), &r.HTTP.Paths[j])
		}
	}
	for i := range s.TLS {
		for j, h := range s.TLS[i].Hosts {
			c.ingressHost(p.Child("tls").Index(i).Child("hosts").Index(j), h)
		}
	}
	if s.IngressClassName != nil {
		c.dnsSubdomain(p, "ingressClassName", *s.IngressClassName)
	}
	return c.errs
}

func (c *checker) ingressHost(p *path, host string) {
	if host == "" {
		return
	}
	if _, err := netip.ParseAddr(host); err == nil {
		c.invalid(p, host, "must be a DNS name, not an IP address")
		return
	}
	check := validation.IsDNS1123Subdomain
	if strings.Contains(host, "*") {
		check = validation.IsWildcardDNS1123Subdomain
	}
	for _, m := range check(host) {
		c.invalid(p, host, m)
	}
}

func (c *checker) ingressPath(p *path, o *networkingv1.HTTPIngressPath) {
	types := []networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific}
	if o.PathType == nil {
		c.required(p.Child("pathType"), "pathType must be specified")
	} else {
		oneOf(c, p, "pathType", *o.PathType, types...)
	}
	if t := deref(o.PathType, ""); t == networkingv1.PathTypeExact || t == networkingv1.PathTypePrefix || o.Path != "" {
		if !strings.HasPrefix(o.Path, "/") {
			c.invalid(p.Child("path"), o.Path, "must be an absolute path")
		}
		if t != networkingv1.PathTypeImplementationSpecific {
			for _, s := range []string{"//", "/./", "/../", "%2f", "%2F"} {
				if strings.Contains(o.Path, s) {
					c.invalid(p.Child("path"), o.Path, "must not contain '"+s+"'")
				}
			}
		}
	}
	c.ingressBackend(p.Child("backend"), &o.Backend)
}

func (c *checker) ingressBackend(p *path, b *networkingv1.IngressBackend) {
	switch {
	case b.Service != nil && b.Resource != nil:
		c.invalid(p, "", "cannot set both resource and service backends")
	case b.Service == nil && b.Resource == nil:
		c.invalid(p, "", "resource or service backend is required")
	case b.Resource != nil:
		c.dataSource(p.Child("resource"), b.Resource.Kind, b.Resource.Name)
	default:
		at := p.Child("service")
		c.dnsLabel(at, "name", b.Service.Name)
		port := b.Service.Port
		switch {
		case port.Name != "" && port.Number != 0:
			c.invalid(p, "", "cannot set both port name & port number")
		case port.Name != "":
			c.messages(at.Child("port"), "name", port.Name, validation.IsValidPortName(port.Name))
		case port.Number != 0:
			c.port(at.Child("port"), "number", port.Number)
		default:
			c.required(p, "port name or number is required")
		}
	}
}

func checkIngressClass(o, old *networkingv1.IngressClass) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec")
	if o.Spec.Controller == "" {
		c.required(p.Child("controller"), "")
	} else {
		c.add(validation.IsDomainPrefixedPath(p.Child("controller"), o.Spec.Controller)...)
	}
	if r := o.Spec.Parameters; r != nil {
		at := p.Child("parameters")
		c.dataSource(at, r.Kind, r.Name)
		oneOfPtr(c, at, "scope", r.Scope, networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
		switch deref(r.Scope, "") {
		case networkingv1.IngressClassParametersReferenceScopeNamespace:
			if deref(r.Namespace, "") == "" {
				c.required(at.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
			}
		case networkingv1.IngressClassParametersReferenceScopeCluster:
			if r.Namespace != nil {
				c.forbidden(at.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
			}
		}
	}
	if old != nil {
		same(c, p, "controller", o.Spec.Controller, old.Spec.Controller)
	}
	return c.errs
}

func checkNetworkPolicy(o, _ *networkingv1.NetworkPolicy) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	c.selector(p.Child("podSelector"), &s.PodSelector)
	for i := range s.Ingress {
		at := p.Child("ingress").Index(i)
		c.policyPorts(at.Child("ports"), s.Ingress[i].Ports)
		c.policyPeers(at.Child("from"), s.Ingress[i].From)
	}
	for i := range s.Egress {
		at := p.Child("egress").Index(i)
		c.policyPorts(at.Child("ports"), s.Egress[i].Ports)
		c.policyPeers(at.Child("to"), s.Egress[i].To)
	}
	if len(s.PolicyTypes) > 2 {
		c.invalid(p.Child("policyTypes"), s.PolicyTypes, "may not specify more than two policyTypes")
	}
	for i, t := range s.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			c.add(field.NotSupported(p.Child("policyTypes").Index(i), t,
				[]networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}))
		}
	}
	return c.errs
}

func (c *checker) policyPorts(p *path, ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		at := p.Index(i)
		protocol(c, at, deref(ports[i].Protocol, ""))
		port, end := ports[i].Port, ports[i].EndPort
		if port != nil {
			c.portNameOrNumber(at, "port", *port)
		}
		switch {
		case end == nil:
		case port == nil:
			c.required(at.Child("port"), "must be specified when `endPort` is specified")
		case port.Type == intstr.String:
			c.invalid(at.Child("endPort"), *end, "may not be specified when `port` is non-numeric")
		case *end < port.IntVal:
			c.invalid(at.Child("endPort"), *end, "must be greater than or equal to `port`")
		default:
			c.port(at, "endPort", *end)
		}
	}
}

func (c *checker) policyPeers(p *path, peers []networkingv1.NetworkPolicyPeer) {
	for i := range peers {
		peer, at := &peers[i], p.Index(i)
		c.selector(at.Child("podSelector"), peer.PodSelector)
		c.selector(at.Child("namespaceSelector"), peer.NamespaceSelector)
		switch {
		case peer.PodSelector == nil && peer.NamespaceSelector == nil && peer.IPBlock == nil:
			c.required(at, "must specify a peer")
		case peer.IPBlock != nil && (peer.PodSelector != nil || peer.NamespaceSelector != nil):
			c.forbidden(at, "may not specify both ipBlock and another peer")
		case peer.IPBlock != nil:
			c.ipBlock(at.Child("ipBlock"), peer.IPBlock)
		}
	}
}

func (c *checker) ipBlock(p *path, b *networkingv1.IPBlock) {
	outer, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		c.cidr(p.Child("cidr"), b.CIDR)
		return
	}
	for i, e := range b.Except {
		inner, err := netip.ParsePrefix(e)
		if err != nil {
			c.cidr(p.Child("except").Index(i), e)
		} else if !outer.Contains(inner.Addr()) || inner.Bits() <= outer.Bits() {
			c.invalid(p.Child("except").Index(i), e, "must be a strict subset of `cidr`")
		}
	}
}

func networkPolicyWarnings(o, _ *networkingv1.NetworkPolicy) []string {
	if equality.Semantic.DeepEqual(o.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) && len(o.Spec.Egress) > 0 {
		return []string{"spec.egress has no effect: spec.policyTypes does not contain Egress"}
	}
	return nil
}

// endpointsDeprecated is what writers of the old API are told.
func endpointsDeprecated(_, _ *corev1.Endpoints) []string {
	return []string{"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}
}
