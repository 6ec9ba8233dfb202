package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/headway-sh/headway/internal/podgroup"
)

type direction string

const (
	ingress direction = "in"
	egress  direction = "out"
)

// mark is the bit of packets that a policy allows, for as long as they are in
// the chain of one direction.
const (
	mark      = "0x400000/0x400000"
	clearMark = "-j MARK --set-xmark 0x0/0x400000"
	allow     = "-j MARK --set-xmark " + mark
)

// policy is a network policy, read.
type policy struct {
	name      string // namespace/name
	namespace string
	selector  labels.Selector
	rules     map[direction][]rule // a direction that is isolated has an entry
	pods      map[types.UID]*Pod   // of this node, that it selects
}

// rule allows any of the peers on any of the ports; none of either is all.
type rule struct {
	peers []peer
	ports []port
}

// peer is a group, or ranges of addresses.
type peer struct {
	group  podgroup.Key
	block  string // as written in the policy, exceptions included
	ranges []netip.Prefix
}

// port is a range of ports of a protocol, all of them when last is 0, or a name.
type port struct {
	protocol    string
	name        string // as podgroup.PortName has it
	first, last int32
}

// read makes a policy from its object. What cannot be read is left out: it
// allows nothing, and a policy whose pods cannot be told has none.
func read(o *networkingv1.NetworkPolicy) *policy {
	p := &policy{name: o.Namespace + "/" + o.Name, namespace: o.Namespace, rules: map[direction][]rule{}, pods: map[types.UID]*Pod{}}
	var err error
	if p.selector, err = metav1.LabelSelectorAsSelector(&o.Spec.PodSelector); err != nil {
		p.selector = labels.Nothing()
	}
	if isolates(o, networkingv1.PolicyTypeIngress) {
		p.rules[ingress] = nil
		for _, r := range o.Spec.Ingress {
			p.rules[ingress] = append(p.rules[ingress], rule{readPeers(o.Namespace, r.From), readPorts(r.Ports)})
		}
	}
	if isolates(o, networkingv1.PolicyTypeEgress) {
		p.rules[egress] = nil
		for _, r := range o.Spec.Egress {
			p.rules[egress] = append(p.rules[egress], rule{readPeers(o.Namespace, r.To), readPorts(r.Ports)})
		}
	}
	return p
}

// isolates tells whether a policy is about a direction. Without types it is
// about ingress, and about egress if it has such rules.
func isolates(o *networkingv1.NetworkPolicy, t networkingv1.PolicyType) bool {
	if len(o.Spec.PolicyTypes) > 0 {
		return slices.Contains(o.Spec.PolicyTypes, t)
	}
	return t == networkingv1.PolicyTypeIngress || len(o.Spec.Egress) > 0
}

// readPeers never makes all of some: a peer that cannot be read is one that
// nobody is.
func readPeers(namespace string, in []networkingv1.NetworkPolicyPeer) []peer {
	var out []peer
	for i := range in {
		if b := in[i].IPBlock; b != nil {
			out = append(out, peer{block: "ip " + b.CIDR + " but " + strings.Join(b.Except, " "), ranges: ranges(b)})
			continue
		}
		g, _, err := podgroup.Of(namespace, &in[i])
		if err != nil {
			out = append(out, peer{block: "nobody"})
			continue
		}
		out = append(out, peer{group: g.Key()})
	}
	return out
}

func ranges(b *networkingv1.IPBlock) []netip.Prefix {
	block, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return nil
	}
	var except []netip.Prefix
	for _, text := range b.Except {
		e, err := netip.ParsePrefix(text)
		if err != nil {
			return nil
		}
		except = append(except, e)
	}
	return subtract(block, except)
}

func readPorts(in []networkingv1.NetworkPolicyPort) []port {
	var out []port
	for _, p := range in {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		q := port{protocol: strings.ToLower(string(protocol))}
		switch {
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			q.name = podgroup.PortName(protocol, p.Port.StrVal)
		default:
			q.first, q.last = p.Port.IntVal, p.Port.IntVal
			if p.EndPort != nil {
				q.last = *p.EndPort
			}
		}
		out = append(out, q)
	}
	return out
}

// source is a set that rules refer to, and where its elements come from.
type source struct {
	set  string
	kind Kind
	// group's members, or their ports of the name; empty: elements.
	group    podgroup.Key
	port     string
	elements []string
}

// compile makes the rules of one direction for a family, and the sets that they
// need beside those of the selected pods' own ports.
func (p *policy) compile(n names, d direction, ipv6 bool) (rules []string, sources []source) {
	side := "src"
	if d == egress {
		side = "dst"
	}
	for _, r := range p.rules[d] {
		peers := r.peers
		if len(peers) == 0 {
			peers = []peer{{}}
		}
		ports := r.ports
		if len(ports) == 0 {
			ports = []port{{}}
		}
		for _, from := range peers {
			match := ""
			if s, ok := from.source(n, ipv6); ok {
				match = fmt.Sprintf("-m set --match-set %s %s ", s.set, side)
				sources = append(sources, s)
			}
			for _, at := range ports {
				text, s := p.match(n, d, from, at)
				sources = append(sources, s...)
				rules = append(rules, match+text+allow)
			}
		}
	}
	return rules, sources
}

// source is the peer's set; false for all peers.
func (from peer) source(n names, ipv6 bool) (source, bool) {
	switch {
	case from.group != "":
		return source{set: n.group(from.group, ""), kind: Addresses, group: from.group}, true
	case from.block != "":
		s := source{set: n.block(from.block), kind: Networks}
		for _, r := range from.ranges {
			if r.Addr().Is6() == ipv6 {
				s.elements = append(s.elements, r.String())
			}
		}
		return s, true
	}
	return source{}, false
}

// match is what a packet to the port matches. A name means the selected pods'
// own port for what comes in, and the peer's for what goes out.
func (p *policy) match(n names, d direction, from peer, at port) (string, []source) {
	switch {
	case at.protocol == "":
		return "", nil
	case at.name != "" && d == ingress:
		return fmt.Sprintf("-p %s -m set --match-set %s dst,dst ", at.protocol, n.own(p.name, at.name)), nil
	case at.name != "":
		group := from.group
		if group == "" {
			group = podgroup.All().Key()
		}
		s := source{set: n.group(group, at.name), kind: Ports, group: group, port: at.name}
		return fmt.Sprintf("-p %s -m set --match-set %s dst,dst ", at.protocol, s.set), []source{s}
	case at.last == 0:
		return "-p " + at.protocol + " ", nil
	case at.first == at.last:
		return fmt.Sprintf("-p %s -m multiport --dports %d ", at.protocol, at.first), nil
	}
	return fmt.Sprintf("-p %s -m multiport --dports %d:%d ", at.protocol, at.first, at.last), nil
}

// ownPorts are the names of the selected pods' ports that rules let in.
func (p *policy) ownPorts() []string {
	var names []string
	for _, r := range p.rules[ingress] {
		for _, at := range r.ports {
			if at.name != "" && !slices.Contains(names, at.name) {
				names = append(names, at.name)
			}
		}
	}
	return names
}
