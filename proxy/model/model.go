package model

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// ServicePort is one port of one Service in one address family.
type ServicePort struct {
	// Namespace, Service and Port name it; Port is empty for an unnamed port.
	Namespace, Service, Port string
	// Protocol is tcp, udp or sctp.
	Protocol string
	// ClusterIP and Number are what clients in the cluster connect to.
	ClusterIP netip.Addr
	Number    uint16
	// NodePort is open on every address of the node; 0: none.
	NodePort uint16
	// External are addresses of spec.externalIPs, Balancer those of load balancers
	// that the node answers for.
	External, Balancer []netip.Addr
	// Ranges are the sources that may use the Balancer addresses; none: all.
	Ranges []netip.Prefix
	// AffinitySeconds keeps a client at its endpoint for so long; 0: no affinity.
	AffinitySeconds int
	// Cluster are the endpoints for traffic that may leave the node, Local
	// those on this node. InternalLocal and ExternalLocal say which of the two
	// traffic from inside and from outside the cluster goes to.
	Cluster, Local               []netip.AddrPort
	InternalLocal, ExternalLocal bool
}

// ID is "namespace/service:port", or without the colon for an unnamed port.
func (p *ServicePort) ID() string {
	id := p.Namespace + "/" + p.Service
	if p.Port != "" {
		id += ":" + p.Port
	}
	return id
}

// Node is what a proxy must know about its own node.
type Node struct {
	Name string
	// Zone is the value of topology.kubernetes.io/zone; empty: unknown.
	Zone string
}

// Ports gives the ServicePorts of a Service for a node in one family, in the
// order of the Service's ports; nil for headless Services and those without an
// address of the family. The slices are those that name the Service.
func Ports(service *corev1.Service, endpoints []*discoveryv1.EndpointSlice, node Node, family corev1.IPFamily) []ServicePort {
	ip, ok := clusterIP(service, family)
	if !ok {
		return nil
	}
	externalIPs, balancer := external(service, family)
	ranges := sourceRanges(service, family)
	ports := make([]ServicePort, 0, len(service.Spec.Ports))
	for i := range service.Spec.Ports {
		sp := &service.Spec.Ports[i]
		p := ServicePort{
			Namespace: service.Namespace, Service: service.Name, Port: sp.Name,
			Protocol: protocol(sp.Protocol), ClusterIP: ip, Number: uint16(sp.Port), NodePort: uint16(sp.NodePort),
			External: externalIPs, Balancer: balancer, Ranges: ranges,
			InternalLocal: service.Spec.InternalTrafficPolicy != nil && *service.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
			ExternalLocal: service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		}
		if service.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
			p.AffinitySeconds = int(corev1.DefaultClientIPServiceAffinitySeconds)
			if c := service.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
				p.AffinitySeconds = int(*c.ClientIP.TimeoutSeconds)
			}
		}
		p.Cluster, p.Local = reachable(endpoints, sp, node, family)
		ports = append(ports, p)
	}
	return ports
}

func clusterIP(service *corev1.Service, family corev1.IPFamily) (netip.Addr, bool) {
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return netip.Addr{}, false
	}
	ips := service.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{service.Spec.ClusterIP}
	}
	for _, text := range ips {
		if ip, err := netip.ParseAddr(text); err == nil && is(ip, family) {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// external gives the addresses from outside that a node answers for. An
// address that is both is a load balancer's, because that may be restricted.
func external(service *corev1.Service, family corev1.IPFamily) (externalIPs, balancer []netip.Addr) {
	if service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			if ingress.IPMode == nil || *ingress.IPMode == corev1.LoadBalancerIPModeVIP {
				balancer = addAddress(balancer, ingress.IP, family)
			}
		}
	}
	for _, text := range service.Spec.ExternalIPs {
		externalIPs = addAddress(externalIPs, text, family)
	}
	externalIPs = slices.DeleteFunc(externalIPs, func(ip netip.Addr) bool { return slices.Contains(balancer, ip) })
	return externalIPs, balancer
}

func addAddress(to []netip.Addr, text string, family corev1.IPFamily) []netip.Addr {
	ip, err := netip.ParseAddr(text)
	if err != nil || !is(ip, family) || slices.Contains(to, ip) {
		return to
	}
	return append(to, ip)
}

// sourceRanges gives who may use the load balancer's addresses. Ranges of the
// other family only leave nobody of this one, which a range of nothing says.
func sourceRanges(service *corev1.Service, family corev1.IPFamily) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range service.Spec.LoadBalancerSourceRanges {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || !is(prefix.Addr(), family) {
			continue
		}
		if prefix.Bits() == 0 {
			return nil
		}
		out = append(out, prefix.Masked())
	}
	if len(out) == 0 && len(service.Spec.LoadBalancerSourceRanges) > 0 {
		nobody := netip.AddrFrom4([4]byte{})
		if family == corev1.IPv6Protocol {
			nobody = netip.IPv6Unspecified()
		}
		out = append(out, netip.PrefixFrom(nobody, nobody.BitLen()))
	}
	return out
}

func targetPort(slice *discoveryv1.EndpointSlice, port *corev1.ServicePort) (uint16, bool) {
	for i := range slice.Ports {
		p := &slice.Ports[i]
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		proto := corev1.ProtocolTCP
		if p.Protocol != nil {
			proto = *p.Protocol
		}
		if name == port.Name && protocol(proto) == protocol(port.Protocol) && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

func protocol(p corev1.Protocol) string {
	switch p {
	case corev1.ProtocolUDP:
		return "udp"
	case corev1.ProtocolSCTP:
		return "sctp"
	}
	return "tcp"
}

func is(ip netip.Addr, family corev1.IPFamily) bool {
	return ip.Is4() == (family == corev1.IPv4Protocol)
}
