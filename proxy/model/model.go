package model

import (
	"cmp"
	"net/netip"
	"slices"

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
	// External are load balancer and external addresses that the node answers for.
	External []netip.Addr
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

// Internal are the endpoints for traffic to the cluster IP.
func (p *ServicePort) Internal() []netip.AddrPort {
	if p.InternalLocal {
		return p.Local
	}
	return p.Cluster
}

// Outside are the endpoints for traffic to node ports and external addresses.
func (p *ServicePort) Outside() []netip.AddrPort {
	if p.ExternalLocal {
		return p.Local
	}
	return p.Cluster
}

// Ports gives the ServicePorts of a Service for a node in one family, in the
// order of the Service's ports; nil for headless Services and those without an
// address of the family. The slices are those that name the Service.
func Ports(service *corev1.Service, endpoints []*discoveryv1.EndpointSlice, node string, family corev1.IPFamily) []ServicePort {
	ip, ok := clusterIP(service, family)
	if !ok {
		return nil
	}
	ports := make([]ServicePort, 0, len(service.Spec.Ports))
	for i := range service.Spec.Ports {
		sp := &service.Spec.Ports[i]
		p := ServicePort{
			Namespace: service.Namespace, Service: service.Name, Port: sp.Name,
			Protocol: protocol(sp.Protocol), ClusterIP: ip, Number: uint16(sp.Port), NodePort: uint16(sp.NodePort),
			External:      external(service, family),
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

func external(service *corev1.Service, family corev1.IPFamily) []netip.Addr {
	var out []netip.Addr
	add := func(text string) {
		if ip, err := netip.ParseAddr(text); err == nil && is(ip, family) {
			out = append(out, ip)
		}
	}
	for _, text := range service.Spec.ExternalIPs {
		add(text)
	}
	if service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			if ingress.IPMode == nil || *ingress.IPMode == corev1.LoadBalancerIPModeVIP {
				add(ingress.IP)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// candidate is an endpoint with what decides whether it gets traffic.
type candidate struct {
	addr           netip.AddrPort
	local          bool
	ready, serving bool
}

// reachable picks the ready endpoints, and those that are terminating but
// still serve only where nothing is ready, for the cluster and for the node
// separately (KEP-1669).
func reachable(all []*discoveryv1.EndpointSlice, port *corev1.ServicePort, node string, family corev1.IPFamily) (cluster, local []netip.AddrPort) {
	var found []candidate
	for _, slice := range all {
		if string(slice.AddressType) != string(family) {
			continue
		}
		number, ok := targetPort(slice, port)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			if c, ok := toCandidate(&slice.Endpoints[i], number, node); ok {
				found = append(found, c)
			}
		}
	}
	isLocal := func(c candidate) bool { return c.local }
	return pick(found, func(candidate) bool { return true }), pick(found, isLocal)
}

func toCandidate(e *discoveryv1.Endpoint, port uint16, node string) (candidate, bool) {
	if len(e.Addresses) == 0 {
		return candidate{}, false
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return candidate{}, false
	}
	ready := e.Conditions.Ready == nil || *e.Conditions.Ready
	serving := ready
	if e.Conditions.Serving != nil {
		serving = *e.Conditions.Serving
	}
	return candidate{addr: netip.AddrPortFrom(ip, port), local: e.NodeName != nil && *e.NodeName == node, ready: ready, serving: serving}, true
}

func pick(all []candidate, wanted func(candidate) bool) []netip.AddrPort {
	var ready, serving []netip.AddrPort
	for _, c := range all {
		switch {
		case !wanted(c):
		case c.ready:
			ready = append(ready, c.addr)
		case c.serving:
			serving = append(serving, c.addr)
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	slices.SortFunc(ready, func(a, b netip.AddrPort) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
	})
	return slices.Compact(ready)
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
