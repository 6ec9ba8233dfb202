package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/headway-sh/headway/proxy/model"
)

// Names of the fixed chains.
const (
	Services    = "HW-SERVICES"
	NodePorts   = "HW-NODEPORTS"
	Postrouting = "HW-POSTROUTING"
	Reject      = "HW-REJECT"
	prefix      = "HW-"
)

// Tables that rules live in.
const (
	NAT    = "nat"
	Filter = "filter"
)

// State is everything that the rules of one address family depend on.
type State struct {
	Ports []model.ServicePort
	// Cluster holds the pods' addresses. Traffic to services from elsewhere is
	// masqueraded so that answers come back through this node.
	Cluster netip.Prefix
	// Hairpins are the pods of this node: one that reaches itself through a
	// service is masqueraded.
	Hairpins []netip.Addr
}

// Ruleset is the rules by table and chain. The rules are ready text; a
// chain's slice is never changed once built.
type Ruleset map[string]map[string][]Rule

// Build makes the whole Ruleset of a state.
func Build(s State) Ruleset {
	rules := Ruleset{NAT: {Services: nil, NodePorts: nil, Postrouting: postrouting(s)}, Filter: {Reject: nil}}
	b := &builder{state: s, rules: rules, buckets: bucketBits(len(s.Ports))}
	for i := range s.Ports {
		b.port(&s.Ports[i])
	}
	nat := rules[NAT]
	for bucket := range 1 << b.buckets {
		if chain := groupName(bucket); nat[chain] != nil {
			nat[Services] = append(nat[Services], b.group(bucket))
		}
	}
	nat[Services] = append(nat[Services], Rule{LocalDst: true, Target: NodePorts})
	return rules
}

// bucketBits makes the number of buckets the power of two at or above the
// square root of the number of addresses.
func bucketBits(n int) int {
	if n < 16 {
		return 0
	}
	return min((bits.Len(uint(n-1))+1)/2, 8)
}

type builder struct {
	state   State
	rules   Ruleset
	buckets int // bits of the address that choose the bucket
}

func groupName(bucket int) string { return fmt.Sprintf("%sG-%d", prefix, bucket) }

// bucket is chosen by the lowest bits of the address.
func (b *builder) bucket(ip netip.Addr) int {
	raw := ip.AsSlice()
	return int(raw[len(raw)-1]) & (1<<b.buckets - 1)
}

// group is the rule that leads into a bucket.
func (b *builder) group(bucket int) Rule {
	r := Rule{Target: groupName(bucket)}
	if b.buckets == 0 {
		return r
	}
	size := 4
	if b.state.Cluster.Addr().Is6() {
		size = 16
	}
	dst, mask := make([]byte, size), make([]byte, size)
	dst[size-1], mask[size-1] = byte(bucket), byte(1<<b.buckets-1)
	r.Dst, _ = netip.AddrFromSlice(dst)
	r.Mask, _ = netip.AddrFromSlice(mask)
	return r
}

// port adds the rules of one service port.
func (b *builder) port(p *model.ServicePort) {
	id := p.ID()
	hash := Hash(id, p.Protocol)
	match := func(ip netip.Addr) Rule {
		return Rule{Dst: ip, Protocol: p.Protocol, Port: p.Number, Comment: id}
	}
	internal := chain("S", hash)
	b.enter(match(p.ClusterIP), p.Internal(), internal)
	if len(p.Internal()) > 0 {
		b.balance(internal, p, p.Internal(), true)
	}
	if p.NodePort == 0 && len(p.External) == 0 {
		return
	}
	outside := chain("X", hash)
	if len(p.Outside()) > 0 {
		b.outside(outside, p, internal, hash)
	}
	for _, ip := range p.External {
		b.enter(match(ip), p.Outside(), outside)
	}
	if p.NodePort == 0 {
		return
	}
	nodePort := Rule{Protocol: p.Protocol, Port: p.NodePort, Comment: id}
	if len(p.Outside()) == 0 {
		nodePort.LocalDst, nodePort.Target = true, "REJECT"
		b.rules[Filter][Reject] = append(b.rules[Filter][Reject], nodePort)
		return
	}
	nodePort.Target = outside
	b.rules[NAT][NodePorts] = append(b.rules[NAT][NodePorts], nodePort)
}

// enter leads an address to its chain, or refuses it where no endpoint is.
func (b *builder) enter(match Rule, endpoints []netip.AddrPort, target string) {
	if len(endpoints) == 0 {
		match.Target = "REJECT"
		b.rules[Filter][Reject] = append(b.rules[Filter][Reject], match)
		return
	}
	match.Target = target
	group := groupName(b.bucket(match.Dst))
	b.rules[NAT][group] = append(b.rules[NAT][group], match)
}

// outside fills the chain for traffic that comes through node ports and
// external addresses: masqueraded towards other nodes, untouched towards this
// one when the policy is Local, so that pods see the client's address.
func (b *builder) outside(name string, p *model.ServicePort, internal, hash string) {
	if p.ExternalLocal {
		b.balance(name, p, p.Local, false)
		return
	}
	b.rules[NAT][name] = append(b.rules[NAT][name], Rule{Target: Mark})
	if slices.Equal(p.Internal(), p.Cluster) {
		b.rules[NAT][name] = append(b.rules[NAT][name], Rule{Target: internal})
		return
	}
	b.balance(name, p, p.Cluster, false)
}

// balance spreads connections evenly over endpoints, after sending clients
// with affinity where they were before.
func (b *builder) balance(name string, p *model.ServicePort, endpoints []netip.AddrPort, markForeign bool) {
	var rules []Rule
	if markForeign && b.state.Cluster.IsValid() {
		rules = append(rules, Rule{Src: b.state.Cluster, NotSrc: true, Target: Mark})
	}
	list := func(to netip.AddrPort) string { return prefix + Hash(p.ID(), p.Protocol, to.String()) }
	if p.AffinitySeconds > 0 {
		for _, to := range endpoints {
			rules = append(rules, Rule{Recent: list(to), RecentSeconds: p.AffinitySeconds, Protocol: p.Protocol, Target: "DNAT", To: to})
		}
	}
	for i, to := range endpoints {
		r := Rule{OneIn: len(endpoints) - i, Protocol: p.Protocol, Target: "DNAT", To: to}
		if p.AffinitySeconds > 0 {
			r.Recent, r.Remember = list(to), true
		}
		rules = append(rules, r)
	}
	b.rules[NAT][name] = append(b.rules[NAT][name], rules...)
}

func postrouting(s State) []Rule {
	rules := []Rule{{Marked: true, Target: "MASQUERADE"}}
	for _, ip := range s.Hairpins {
		rules = append(rules, Rule{Src: netip.PrefixFrom(ip, ip.BitLen()), Dst: ip, Translated: true, Target: "MASQUERADE"})
	}
	return rules
}

func chain(kind, hash string) string { return prefix + kind + "-" + hash }

// Hash names a thing in 16 characters, which is what fits into a chain's name.
func Hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base32.StdEncoding.EncodeToString(h.Sum(nil))[:16]
}
