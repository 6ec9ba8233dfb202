package kinds

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 20000
	maxSliceAddresses = 100
)

func checkEndpointSlice(o, old *discoveryv1.EndpointSlice) fieldErrors {
	c := &checker{}
	oneOf(c, nil, "addressType", o.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
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
		switch proto := deref(port.Protocol, corev1.ProtocolTCP); proto {
		case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		default:
			c.add(field.NotSupported(at.Child("protocol"), proto, []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}))
		}
		if port.Port != nil {
			c.port(at, "port", *port.Port)
		}
		if a := port.AppProtocol; a != nil {
			c.messages(at, "appProtocol", *a, validation.IsQualifiedName(*a))
		}
	}
	if old != nil && o.AddressType != old.AddressType {
		c.invalid(field.NewPath("addressType"), nil, immutable)
	}
	return c.errs
}

func (c *checker) endpoint(p *path, e *discoveryv1.Endpoint, t discoveryv1.AddressType) {
	at := p.Child("addresses")
	if len(e.Addresses) == 0 {
		c.required(at, "")
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
			c.invalid(at, a, "must be an IPv4 address")
		case t == discoveryv1.AddressTypeIPv6 && !ip.Is6():
			c.invalid(at, a, "must be an IPv6 address")
		default:
			c.externalIP(at.Index(i), a)
		}
	}
	if e.NodeName != nil {
		c.messages(p, "nodeName", *e.NodeName, validation.IsDNS1123Subdomain(*e.NodeName))
	}
	if h := e.Hostname; h != nil {
		c.messages(p, "hostname", *h, validation.IsDNS1123Label(*h))
	}
	if e.Hints == nil {
		return
	}
	var zones, nodes nameSet
	for i := range e.Hints.ForZones {
		z, at := e.Hints.ForZones[i].Name, p.Child("hints", "forZones").Index(i)
		if !zones.add(z) {
			c.add(field.Duplicate(at.Child("name"), z))
		}
		if !plainLabel(z) {
			c.messages(at, "name", z, validation.IsValidLabelValue(z))
		}
	}
	for i := range e.Hints.ForNodes {
		n, at := e.Hints.ForNodes[i].Name, p.Child("hints", "forNodes").Index(i)
		if !nodes.add(n) {
			c.add(field.Duplicate(at.Child("name"), n))
		}
		if !plainLabel(n) {
			c.messages(at, "name", n, validation.IsDNS1123Subdomain(n))
		}
	}
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
	if len(s.PolicyTypes) <= 2 {
		for i, t := range s.PolicyTypes {
			if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
				c.add(field.NotSupported(p.Child("policyTypes").Index(i), t,
					[]networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}))
			}
		}
	}
	return c.errs
}

func (c *checker) policyPorts(p *path, ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		at := p.Index(i)
		switch proto := deref(ports[i].Protocol, corev1.ProtocolTCP); proto {
		case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		default:
			c.add(field.NotSupported(at.Child("protocol"), proto, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}))
		}
		port, end := ports[i].Port, ports[i].EndPort
		if port != nil {
			c.portNameOrNumber(at, "port", *port)
		}
		switch {
		case end == nil:
		case port == nil:
			c.invalid(at.Child("endPort"), *end, "may not be specified when `port` is not specified")
		case port.Type == intstr.String:
			c.invalid(at.Child("endPort"), *end, "may not be specified when `port` is non-numeric")
		default:
			if *end < port.IntVal {
				c.invalid(at.Child("endPort"), *end, "must be greater than or equal to `port`")
			}
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
		}
		if peer.IPBlock != nil {
			c.ipBlock(at.Child("ipBlock"), peer.IPBlock)
		}
	}
}

func (c *checker) ipBlock(p *path, b *networkingv1.IPBlock) {
	if b.CIDR == "" {
		c.required(p.Child("cidr"), "")
		return
	}
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

// networkPolicyWarnings tells of ranges that are written in an unusual way.
func networkPolicyWarnings(o, _ *networkingv1.NetworkPolicy) []string {
	var all []string
	peers := func(p *path, peers []networkingv1.NetworkPolicyPeer) {
		for i := range peers {
			b, at := peers[i].IPBlock, p.Index(i).Child("ipBlock")
			if b == nil {
				continue
			}
			all = append(all, rangeWarnings(at.Child("cidr"), b.CIDR)...)
			for j, e := range b.Except {
				all = append(all, rangeWarnings(at.Child("except").Index(j), e)...)
			}
		}
	}
	for i := range o.Spec.Ingress {
		peers(field.NewPath("spec", "ingress").Index(i).Child("from"), o.Spec.Ingress[i].From)
	}
	for i := range o.Spec.Egress {
		peers(field.NewPath("spec", "egress").Index(i).Child("to"), o.Spec.Egress[i].To)
	}
	return all
}

func rangeWarnings(p *path, cidr string) []string {
	if _, _, err := netutils.ParseCIDRSloppy(cidr); err != nil {
		return nil
	}
	return validation.GetWarningsForCIDR(p, cidr)
}

// endpointsWarnings tells of addresses that are written in an unusual way.
func endpointsWarnings(o, _ *corev1.Endpoints) []string {
	var all []string
	for i := range o.Subsets {
		for name, addresses := range map[string][]corev1.EndpointAddress{"addresses": o.Subsets[i].Addresses, "notReadyAddresses": o.Subsets[i].NotReadyAddresses} {
			for j := range addresses {
				at := field.NewPath("subsets").Index(i).Child(name).Index(j).Child("ip")
				if netutils.ParseIPSloppy(addresses[j].IP) != nil {
					all = append(all, validation.GetWarningsForIP(at, addresses[j].IP)...)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}
