package backendtest

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/headway-sh/headway/proxy/model"
)

// Service is a Service with its EndpointSlices.
type Service struct {
	Object *corev1.Service
	Slices []*discoveryv1.EndpointSlice
}

// World is all that decides about packets.
type World struct {
	Facts
	Node     model.Node
	Services []Service
}

// Expect gives every fate that a packet may have, with its probability: what
// the API's documentation says, read off the objects one by one.
func (w *World) Expect(p Packet) map[Fate]float64 {
	loopback := func(ip netip.Addr) bool { return ip.Is4() && ip.IsLoopback() }
	if w.Localhost && p.Wire && (loopback(p.Src) || loopback(p.Dst.Addr())) {
		return map[Fate]float64{{To: p.Dst, Dropped: true}: 1}
	}
	for _, s := range w.Services {
		for i := range s.Object.Spec.Ports {
			port := &s.Object.Spec.Ports[i]
			if proto(port.Protocol) != p.Protocol {
				continue
			}
			if fates, ours := w.decide(s, port, p); ours {
				return fates
			}
		}
	}
	for _, s := range w.Services {
		spec := &s.Object.Spec
		if len(spec.Ports) > 0 && slices.Contains(append(spec.ClusterIPs, spec.ClusterIP), p.Dst.Addr().String()) {
			return map[Fate]float64{{To: p.Dst, Rejected: true}: 1} // for none of its ports
		}
	}
	return map[Fate]float64{{To: p.Dst}: 1}
}

func (w *World) decide(s Service, port *corev1.ServicePort, p Packet) (map[Fate]float64, bool) {
	spec := &s.Object.Spec
	dst, number := p.Dst.Addr(), int32(p.Dst.Port())
	everywhere, here := w.endpoints(s, port)
	fromPod := w.Cluster.Contains(p.Src)
	fromHost := slices.Contains(w.Local, p.Src) || p.Src.IsLoopback()
	to, masquerade, admitted := everywhere, true, true
	switch {
	case slices.Contains(append(spec.ClusterIPs, spec.ClusterIP), dst.String()) && number == port.Port:
		masquerade = !fromPod
		if spec.InternalTrafficPolicy != nil && *spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal {
			to = here
		}
	case number == port.Port && w.isBalancer(s, dst):
		admitted = w.admits(s, p.Src)
		fallthrough
	case number == port.Port && slices.Contains(spec.ExternalIPs, dst.String()),
		number == port.NodePort && (slices.Contains(w.Local, dst) || w.Localhost && dst.Is4() && dst.IsLoopback()):
		if spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			break
		}
		switch {
		case fromPod:
			masquerade = false
		case !fromHost:
			to, masquerade = here, false
		}
	default:
		return nil, false
	}
	switch {
	case len(everywhere) == 0 && len(to) == 0:
		return map[Fate]float64{{To: p.Dst, Rejected: true}: 1}, true
	case len(to) == 0 || !admitted:
		return map[Fate]float64{{To: p.Dst, Dropped: true}: 1}, true
	}
	fates := map[Fate]float64{}
	for _, end := range to {
		itself := end.Addr() == p.Src && slices.Contains(here, end)
		fates[Fate{To: end, Masqueraded: masquerade || itself}] += 1 / float64(len(to))
	}
	return fates, true
}

func (w *World) isBalancer(s Service, ip netip.Addr) bool {
	if s.Object.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return false
	}
	for _, in := range s.Object.Status.LoadBalancer.Ingress {
		if in.IP == ip.String() && (in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP) {
			return true
		}
	}
	return false
}

func (w *World) admits(s Service, src netip.Addr) bool {
	for _, text := range s.Object.Spec.LoadBalancerSourceRanges {
		if netip.MustParsePrefix(text).Contains(src) {
			return true
		}
	}
	return len(s.Object.Spec.LoadBalancerSourceRanges) == 0
}

// endpoints gives those for the whole cluster and those on this node.
func (w *World) endpoints(s Service, port *corev1.ServicePort) (everywhere, here []netip.AddrPort) {
	type end struct {
		at    netip.AddrPort
		e     *discoveryv1.Endpoint
		local bool
	}
	yes := func(b *bool, otherwise bool) bool {
		if b == nil {
			return otherwise
		}
		return *b
	}
	var all []end
	for _, slice := range s.Slices {
		for _, p := range slice.Ports {
			if *p.Name != port.Name || proto(*p.Protocol) != proto(port.Protocol) {
				continue
			}
			for i := range slice.Endpoints {
				e := &slice.Endpoints[i]
				all = append(all, end{netip.AddrPortFrom(netip.MustParseAddr(e.Addresses[0]), uint16(*p.Port)), e, *e.NodeName == w.Node.Name})
			}
		}
	}
	choose := func(from []end, condition func(*discoveryv1.Endpoint) bool) (out []end) {
		for _, e := range from {
			if condition(e.e) {
				out = append(out, e)
			}
		}
		return out
	}
	ready := func(e *discoveryv1.Endpoint) bool { return yes(e.Conditions.Ready, true) }
	serving := func(e *discoveryv1.Endpoint) bool { return yes(e.Conditions.Serving, ready(e)) }
	best := func(from []end) []end {
		if r := choose(from, ready); len(r) > 0 {
			return r
		}
		return choose(from, serving)
	}
	whole := best(all)
	if len(choose(all, ready)) > 0 {
		node := func(e *discoveryv1.Endpoint) bool { return e.Hints != nil && len(e.Hints.ForNodes) > 0 }
		zone := func(e *discoveryv1.Endpoint) bool { return e.Hints != nil && len(e.Hints.ForZones) > 0 }
		ourNode := func(e *discoveryv1.Endpoint) bool {
			return node(e) && slices.Contains(e.Hints.ForNodes, discoveryv1.ForNode{Name: w.Node.Name})
		}
		ourZone := func(e *discoveryv1.Endpoint) bool {
			return zone(e) && slices.Contains(e.Hints.ForZones, discoveryv1.ForZone{Name: w.Node.Zone})
		}
		switch {
		case len(choose(whole, node)) == len(whole) && len(choose(whole, ourNode)) > 0:
			whole = choose(whole, ourNode)
		case len(choose(whole, zone)) == len(whole) && len(choose(whole, ourZone)) > 0:
			whole = choose(whole, ourZone)
		}
	}
	var local []end
	for _, e := range all {
		if e.local {
			local = append(local, e)
		}
	}
	for _, e := range whole {
		everywhere = append(everywhere, e.at)
	}
	for _, e := range best(local) {
		here = append(here, e.at)
	}
	return everywhere, here
}

func proto(p corev1.Protocol) string {
	switch p {
	case corev1.ProtocolUDP:
		return "udp"
	case corev1.ProtocolSCTP:
		return "sctp"
	}
	return "tcp"
}
