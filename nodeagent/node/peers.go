package node

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Peers are where the agents of the other nodes serve that were ready when they
// were last heard of.
func (n *Node) Peers() []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []netip.AddrPort
	for _, at := range n.others {
		if at.IsValid() {
			all = append(all, at)
		}
	}
	return all
}

// Knows tells whether there is another node of the name: one that was removed is
// none, whatever its certificate says.
func (n *Node) Knows(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.others[name]
	return ok
}

// know remembers another node.
func (n *Node) know(o *corev1.Node) {
	at := netip.AddrPort{}
	for _, a := range o.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP && isReady(o) {
			at = netip.AddrPortFrom(ip, uint16(o.Status.DaemonEndpoints.KubeletEndpoint.Port)) //nolint:gosec // a port
			break
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.others[o.Name] = at
}

func (n *Node) unknow(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.others, name)
}
