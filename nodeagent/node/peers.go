package node

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/internal/pki"
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
	if was, known := n.others[o.Name]; !known || was != at {
		n.others[o.Name] = at
		n.keepPeers()
	}
}

func (n *Node) unknow(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.others[name]; known {
		delete(n.others, name)
		n.keepPeers()
	}
}

// list begins a whole list of nodes, and knowOnly ends it: nodes that are not
// named are forgotten, such as those that were removed while this agent did not
// run.
func (n *Node) list() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listing = true
}

func (n *Node) knowOnly(named map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listing = false
	maps.DeleteFunc(n.others, func(name string, _ netip.AddrPort) bool { return !named[name] })
	if !maps.Equal(n.others, readPeers(n.PeersFile)) {
		n.keepPeers()
	}
}

// keepPeers writes the others down; mu is held.
func (n *Node) keepPeers() {
	if n.PeersFile == "" || n.listing {
		return
	}
	text, err := json.Marshal(n.others)
	if err == nil {
		err = pki.WriteFile(n.PeersFile, text, 0o600)
	}
	if err != nil {
		n.Logger.Warn("other nodes not written down", "err", err)
	}
}

// readPeers reads what keepPeers has written; nothing is as good as a file that
// cannot be read, for the API will tell.
func readPeers(path string) map[string]netip.AddrPort {
	others := map[string]netip.AddrPort{}
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &others) != nil || others == nil {
		return map[string]netip.AddrPort{}
	}
	return others
}
