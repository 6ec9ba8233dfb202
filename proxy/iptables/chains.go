package iptables

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/headway-sh/headway/proxy/rules"
)

// coverLimit is how many prefixes stand for all cluster IPs.
const coverLimit = 8

// chains are all wanted chains and who gives which rules to them.
type chains struct {
	cluster   netip.Prefix
	ipv6      bool
	localhost bool
	bits      int
	updates   map[string]rules.Update
	compiled  map[string][]part
	parts     map[chain]map[string][]string // by Service
	below     map[node]int                  // how many buckets are under an inner node
	vips      map[netip.Addr]int            // how many rows have a cluster IP
	addresses int                           // rows that have an address
	dirty     map[chain]bool
}

func newChains(config Config) *chains {
	return &chains{cluster: config.Cluster, ipv6: config.IPv6, localhost: config.Localhost && !config.IPv6, updates: map[string]rules.Update{}, compiled: map[string][]part{},
		parts: map[chain]map[string][]string{}, below: map[node]int{}, vips: map[netip.Addr]int{}, dirty: map[chain]bool{}}
}

// set takes a Service's newest state.
func (c *chains) set(u rules.Update) {
	old := c.updates[u.Key]
	c.count(&u, 1) // before the old ones go, so that what stays is never away
	c.count(&old, -1)
	if len(u.Rows)+len(u.Local) == 0 {
		delete(c.updates, u.Key)
	} else {
		c.updates[u.Key] = u
	}
	if bits := bucketBits(c.addresses); bits != c.bits {
		c.bits = bits
		for _, u := range c.updates {
			c.replace(&u)
		}
	}
	c.replace(&u)
}

func (c *chains) count(u *rules.Update, by int) {
	for i := range u.Rows {
		r := &u.Rows[i]
		if !r.IP.IsValid() {
			continue
		}
		c.addresses += by
		if !r.Internal {
			continue
		}
		was := c.vips[r.IP]
		if c.vips[r.IP] += by; c.vips[r.IP] == 0 {
			delete(c.vips, r.IP)
		}
		if (was == 0) != (was+by == 0) {
			c.dirty[chain{NAT, Foreign}] = true
		}
	}
}

// replace compiles a Service anew; chains that become different are dirty.
func (c *chains) replace(u *rules.Update) {
	compiler := compiler{cluster: c.cluster, bits: c.bits}
	parts := compiler.update(u)
	for _, old := range c.compiled[u.Key] {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.chain == old.chain }) {
			c.drop(old.chain, u.Key)
		}
	}
	for _, p := range parts {
		byService := c.parts[p.chain]
		if byService == nil {
			byService = map[string][]string{}
			c.parts[p.chain] = byService
			c.grow(p.chain, 1)
		}
		if !slices.Equal(byService[u.Key], p.rules) {
			byService[u.Key] = p.rules
			c.dirty[p.chain] = true
		}
	}
	if len(parts) == 0 {
		delete(c.compiled, u.Key)
	} else {
		c.compiled[u.Key] = parts
	}
}

func (c *chains) drop(from chain, key string) {
	delete(c.parts[from], key)
	c.dirty[from] = true
	if len(c.parts[from]) == 0 {
		delete(c.parts, from)
		c.grow(from, -1)
	}
}

// grow notes that a chain comes or goes: what leads to it becomes different.
func (c *chains) grow(of chain, by int) {
	if n, ok := nodeOf(of.name); ok {
		for up := n.bits - level; up >= 0; up -= level {
			above := node{n.kind, up, n.value & (1<<up - 1)}
			if c.below[above] += by; c.below[above] == 0 {
				delete(c.below, above)
			}
			c.dirty[c.at(above)] = true
		}
		c.dirty[c.at(node{kind: n.kind})] = true
		return
	}
	for kind, root := range map[string]string{"N-": NodePorts, "RN-": Reject} {
		if strings.HasPrefix(of.name, prefix+kind) {
			c.dirty[chain{of.table, root}] = true
		}
	}
}

// at is a node's chain. The root's is the one that the kernel comes by.
func (c *chains) at(n node) chain {
	table, root := NAT, Services
	if n.kind == "R" {
		table, root = Filter, Reject
	}
	if n.bits == 0 {
		return chain{table, root}
	}
	return chain{table, n.chain()}
}

// all lists every wanted chain.
func (c *chains) all() []chain {
	out := append(slices.Collect(maps.Keys(c.parts)), chain{NAT, Services}, chain{NAT, NodePorts}, chain{NAT, Postrouting}, chain{NAT, Foreign}, chain{Filter, Reject})
	if _, ok := c.parts[chain{NAT, Hairpin}]; !ok {
		out = append(out, chain{NAT, Hairpin})
	}
	if c.localhost {
		out = append(out, chain{Raw, Martians})
	}
	for n := range c.below {
		if n.bits > 0 {
			out = append(out, c.at(n))
		}
	}
	return out
}

// rules gives the rules of a chain; wanted tells whether it is to exist.
func (c *chains) rules(of chain) (lines []string, wanted bool) {
	switch of {
	case chain{NAT, Services}:
		return c.services(), true
	case chain{NAT, NodePorts}:
		return c.nodePorts(), true
	case chain{NAT, Postrouting}:
		return c.postrouting(), true
	case chain{NAT, Foreign}:
		return c.foreign(), true
	case chain{Filter, Reject}:
		return c.reject(), true
	case chain{Raw, Martians}:
		return martians(), c.localhost
	}
	if n, ok := nodeOf(of.name); ok && n.bits > 0 && c.below[n] > 0 {
		return c.branches(n), true
	}
	byService := c.parts[of]
	for _, key := range slices.Sorted(maps.Keys(byService)) {
		lines = append(lines, byService[key]...)
	}
	if of.name == Hairpin { // pods of several services are in it several times
		slices.Sort(lines)
		return slices.Compact(lines), true
	}
	return lines, len(byService) > 0
}

func (c *chains) services() []string {
	lines := c.branches(node{kind: "G"})
	return append(lines, Rule{LocalDst: true, Target: NodePorts}.String())
}

// branches are the rules that lead from a node to those below it that exist.
func (c *chains) branches(n node) []string {
	if c.bits == 0 { // one bucket for all
		bucket := node{kind: n.kind}
		if _, ok := c.parts[chain{c.at(bucket).table, bucket.chain()}]; ok {
			return []string{Rule{Target: bucket.chain()}.String()}
		}
		return nil
	}
	var lines []string
	for way := range 1 << level {
		next := node{n.kind, n.bits + level, n.value | way<<n.bits}
		_, bucket := c.parts[c.at(next)]
		if bucket || c.below[next] > 0 {
			lines = append(lines, c.branch(way<<n.bits, (1<<level-1)<<n.bits, next.chain()).String())
		}
	}
	return lines
}

// branch leads addresses on by some of their lowest bits.
func (c *chains) branch(value, mask int, name string) Rule {
	size := 4
	if c.ipv6 {
		size = 16
	}
	dst, under := make([]byte, size), make([]byte, size)
	dst[size-2], dst[size-1] = byte(value>>8), byte(value)
	under[size-2], under[size-1] = byte(mask>>8), byte(mask)
	r := Rule{Target: name}
	r.Dst, _ = netip.AddrFromSlice(dst)
	r.Mask, _ = netip.AddrFromSlice(under)
	return r
}

// blocks are the rules that lead into the blocks of node ports that exist.
func (c *chains) blocks(table, kind string, match Rule) []string {
	var names []string
	for at := range c.parts {
		if at.table == table && strings.HasPrefix(at.name, prefix+kind+"-") {
			names = append(names, at.name)
		}
	}
	slices.Sort(names)
	var lines []string
	for _, name := range names {
		words := strings.Split(name, "-")
		block, err := strconv.Atoi(words[3])
		if err != nil {
			continue
		}
		match.Protocol, match.Target = words[2], name
		match.Port, match.PortEnd = uint16(block*portBlock), uint16(block*portBlock+portBlock-1)
		lines = append(lines, match.String())
	}
	return lines
}

func (c *chains) nodePorts() []string {
	return append(c.notLoopback(), c.blocks(NAT, "N", Rule{})...)
}

// notLoopback leaves the node's loopback addresses alone where node ports do
// not answer on them.
func (c *chains) notLoopback() []string {
	switch {
	case c.localhost:
		return nil
	case c.ipv6:
		return []string{Rule{Dst: netip.IPv6Loopback(), Target: "RETURN"}.String()}
	}
	return []string{Rule{Dst: netip.MustParseAddr("127.0.0.0"), Mask: netip.MustParseAddr("255.0.0.0"), Target: "RETURN"}.String()}
}

func (c *chains) reject() []string {
	lines := []string{Rule{Known: true, Target: "RETURN"}.String()}
	lines = append(lines, c.branches(node{kind: "R"})...)
	lines = append(lines, c.notLoopback()...)
	return append(lines, c.blocks(Filter, "RN", Rule{LocalDst: true})...)
}

func (c *chains) postrouting() []string {
	lines := []string{Rule{Marked: true, Target: "MASQUERADE"}.String()}
	if c.cluster.IsValid() {
		lines = append(lines, Rule{Src: c.cluster, NotSrc: true, Translated: true, Target: Foreign}.String())
	}
	return append(lines, Rule{Translated: true, Target: Hairpin}.String())
}

// foreign masquerades what was made to a cluster IP. Prefixes stand for the
// cluster IPs, so that this takes a few tests and no mark for each service.
func (c *chains) foreign() []string {
	var lines []string
	for _, p := range rules.Cover(slices.Collect(maps.Keys(c.vips)), coverLimit) {
		lines = append(lines, Rule{Original: p, Target: "MASQUERADE"}.String())
	}
	return lines
}

// martians makes route_localnet safe: it lets the kernel route loopback
// addresses, which must then not come in from outside.
func martians() []string {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	return []string{
		Rule{Wire: true, Src: loopback, Target: "DROP"}.String(),
		Rule{Wire: true, Dst: loopback.Addr(), Mask: netip.MustParseAddr("255.0.0.0"), Target: "DROP"}.String(),
	}
}
