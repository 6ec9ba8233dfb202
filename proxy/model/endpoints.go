package model

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// candidate is an endpoint with what decides whether it gets traffic.
type candidate struct {
	addr           netip.AddrPort
	local          bool
	ready, serving bool
	hints          *discoveryv1.EndpointHints
}

// reachable picks the ready endpoints, and those that are terminating but
// still serve only where nothing is ready, for the cluster and for the node
// separately (KEP-1669). Of the ready ones for the cluster, those meant for
// this node or zone are kept (KEP-2433, KEP-4444).
func reachable(all []*discoveryv1.EndpointSlice, port *corev1.ServicePort, node Node, family corev1.IPFamily) (cluster, local []netip.AddrPort) {
	var ready, serving, readyHere, servingHere []candidate
	for _, slice := range all {
		if string(slice.AddressType) != string(family) {
			continue
		}
		number, ok := targetPort(slice, port)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			c, ok := toCandidate(&slice.Endpoints[i], number, node)
			switch {
			case !ok:
			case c.ready:
				ready = append(ready, c)
				if c.local {
					readyHere = append(readyHere, c)
				}
			case c.serving:
				serving = append(serving, c)
				if c.local {
					servingHere = append(servingHere, c)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	} else {
		ready = nearest(ready, node)
	}
	if len(readyHere) == 0 {
		readyHere = servingHere
	}
	return addresses(ready), addresses(readyHere)
}

func toCandidate(e *discoveryv1.Endpoint, port uint16, node Node) (candidate, bool) {
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
	return candidate{addr: netip.AddrPortFrom(ip, port), local: e.NodeName != nil && *e.NodeName == node.Name, ready: ready, serving: serving, hints: e.Hints}, true
}

// nearest keeps the endpoints that their hints mean for this node, else those
// for its zone. Hints count only when every endpoint has one of the kind and
// some endpoint is meant for us: half a set of hints would leave clients
// without endpoints.
func nearest(all []candidate, node Node) []candidate {
	forNode := func(h *discoveryv1.EndpointHints) (bool, bool) {
		return len(h.ForNodes) > 0, slices.ContainsFunc(h.ForNodes, func(n discoveryv1.ForNode) bool { return n.Name == node.Name })
	}
	forZone := func(h *discoveryv1.EndpointHints) (bool, bool) {
		return len(h.ForZones) > 0, slices.ContainsFunc(h.ForZones, func(z discoveryv1.ForZone) bool { return z.Name == node.Zone })
	}
	if meant := hinted(all, forNode); len(meant) > 0 {
		return meant
	}
	if node.Zone != "" {
		if meant := hinted(all, forZone); len(meant) > 0 {
			return meant
		}
	}
	return all
}

func hinted(all []candidate, meaning func(*discoveryv1.EndpointHints) (has, us bool)) []candidate {
	var meant []candidate
	for _, c := range all {
		if c.hints == nil {
			return nil
		}
		has, us := meaning(c.hints)
		if !has {
			return nil
		}
		if us {
			meant = append(meant, c)
		}
	}
	return meant
}

func addresses(of []candidate) []netip.AddrPort {
	out := make([]netip.AddrPort, len(of))
	for i, c := range of {
		out[i] = c.addr
	}
	slices.SortFunc(out, func(a, b netip.AddrPort) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
	})
	return slices.Compact(out)
}

// ReadyHere counts the addresses of ready endpoints on a node.
func ReadyHere(all []*discoveryv1.EndpointSlice, node Node) int {
	seen := map[string]bool{}
	for _, slice := range all {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) > 0 && e.NodeName != nil && *e.NodeName == node.Name && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				seen[e.Addresses[0]] = true
			}
		}
	}
	return len(seen)
}
