package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/headway-sh/headway/proxy/rules"
)

// Names of the fixed chains.
const (
	Services    = "HW-SERVICES"
	NodePorts   = "HW-NODEPORTS"
	Postrouting = "HW-POSTROUTING"
	Foreign     = "HW-FOREIGN"
	Hairpin     = "HW-HAIRPIN"
	Reject      = "HW-REJECT"
	Martians    = "HW-MARTIANS"
	prefix      = "HW-"
)

// Tables that rules live in.
const (
	NAT    = "nat"
	Filter = "filter"
	Raw    = "raw"
)

// inline is the most endpoints that lie in a bucket itself. More would be
// tests for all services behind them.
const inline = 4

// portBlock is how many node ports share a chain.
const portBlock = 64

// chain names a chain in its table.
type chain struct{ table, name string }

// part is what one Service gives to one chain: rules as text.
type part struct {
	chain chain
	rules []string
}

const (
	// leaf is how many addresses share a bucket at most, on average.
	leaf = 40
	// level is how many bits of the address choose the way at each level of the
	// tree. More levels would be less to test for packets, but more chains, which
	// take iptables-restore long.
	level = 4
)

// bucketBits is how many of an address's lowest bits choose its bucket.
func bucketBits(n int) int {
	b := 0
	for n>>b > leaf && b+level <= 16 {
		b += level
	}
	return b
}

// low are the lowest bits of an address.
func low(ip netip.Addr, bits int) int {
	raw := ip.AsSlice()
	return (int(raw[len(raw)-2])<<8 | int(raw[len(raw)-1])) & (1<<bits - 1)
}

// node is a place in the tree of buckets: those addresses whose lowest bits are
// the value.
type node struct {
	kind        string // G or R
	bits, value int
}

func (n node) chain() string { return fmt.Sprintf("%s%s-%d-%d", prefix, n.kind, n.bits, n.value) }

// nodeOf reads a node's chain name.
func nodeOf(name string) (n node, ok bool) {
	_, err := fmt.Sscanf(name, prefix+"G-%d-%d", &n.bits, &n.value)
	if n.kind = "G"; err != nil {
		n.kind = "R"
		_, err = fmt.Sscanf(name, prefix+"R-%d-%d", &n.bits, &n.value)
	}
	return n, err == nil
}

// compiler makes the parts of one Service.
type compiler struct {
	cluster netip.Prefix
	bits    int
	parts   []part
}

func (c *compiler) add(table, name string, r Rule) {
	at := chain{table, name}
	i := slices.IndexFunc(c.parts, func(p part) bool { return p.chain == at })
	if i < 0 {
		i = len(c.parts)
		c.parts = append(c.parts, part{chain: at})
	}
	c.parts[i].rules = append(c.parts[i].rules, r.String())
}

func (c *compiler) update(u *rules.Update) []part {
	for i := range u.Rows {
		c.row(&u.Rows[i])
	}
	for _, ip := range u.ClusterIPs() { // what is served has another address by now
		c.add(Filter, node{"R", c.bits, low(ip, c.bits)}.chain(), Rule{Dst: ip, Target: "REJECT"})
	}
	for _, ip := range u.Local {
		c.add(NAT, Hairpin, Rule{Src: netip.PrefixFrom(ip, ip.BitLen()), Dst: ip, Target: "MASQUERADE"})
	}
	return c.parts
}

// place is where a frontend's rules lie in a table and what they match.
func (c *compiler) place(f *rules.Frontend, kind, nodePortKind string) (name string, match Rule) {
	match = Rule{Dst: f.IP, Protocol: f.Protocol, Port: f.Port}
	if f.IP.IsValid() {
		return node{kind, c.bits, low(f.IP, c.bits)}.chain(), match
	}
	return blockName(nodePortKind, f.Protocol, int(f.Port)/portBlock), match
}

func blockName(kind, protocol string, block int) string {
	return fmt.Sprintf("%s%s-%s-%d", prefix, kind, protocol, block)
}

func (c *compiler) row(r *rules.Row) {
	uniform := r.Internal || same(r.Pods, r.World) && same(r.Host, r.World)
	if len(r.Pods.To) > 0 || len(r.Host.To) > 0 || len(r.World.To) > 0 {
		name, match := c.place(&r.Frontend, "G", "N")
		match.Comment = r.ID
		if uniform && len(r.Ranges) == 0 && r.AffinitySeconds == 0 && len(r.World.To) <= inline {
			c.pool(name, match, r, r.World)
		} else {
			c.enter(name, match, r, uniform)
		}
	}
	if refused := len(r.Pods.To) == 0 || len(r.Host.To) == 0 || len(r.World.To) == 0 || len(r.Ranges) > 0; refused {
		name, match := c.place(&r.Frontend, "R", "RN")
		match.Comment, match.Target = r.ID, "REJECT"
		if r.Refusal == rules.Drop {
			match.Target = "DROP"
		}
		c.add(Filter, name, match)
	}
}

func same(a, b rules.Action) bool { return a.Masquerade == b.Masquerade && slices.Equal(a.To, b.To) }

// enter leads those who are let in to a chain of the row's own.
func (c *compiler) enter(name string, match Rule, r *rules.Row, uniform bool) {
	hash := Hash(r.ID, r.Protocol, r.IP.String(), strconv.Itoa(int(r.Port)))
	match.Target = prefix + "S-" + hash
	if len(r.Ranges) == 0 {
		c.add(NAT, name, match)
	}
	for _, from := range r.Ranges {
		match.Src = from
		c.add(NAT, name, match)
	}
	if uniform {
		c.pool(match.Target, Rule{Protocol: r.Protocol}, r, r.World)
		return
	}
	for _, branch := range []struct {
		kind  string
		match Rule
		to    rules.Action
	}{
		{"P", Rule{Src: c.cluster}, r.Pods},
		{"H", Rule{LocalSrc: true}, r.Host},
	} {
		if branch.kind == "P" && !c.cluster.IsValid() {
			continue
		}
		// A branch without endpoints must not fall through to the next one.
		branch.match.Target = "RETURN"
		if len(branch.to.To) > 0 {
			branch.match.Target = prefix + branch.kind + "-" + hash
			c.pool(branch.match.Target, Rule{Protocol: r.Protocol}, r, branch.to)
		}
		c.add(NAT, match.Target, branch.match)
	}
	c.pool(match.Target, Rule{Protocol: r.Protocol}, r, r.World)
}

// pool spreads connections evenly over endpoints, after sending clients with
// affinity where they were before.
func (c *compiler) pool(name string, match Rule, r *rules.Row, to rules.Action) {
	if to.Masquerade && !r.Internal && len(to.To) > 0 {
		marking := match
		marking.Target = Mark
		c.add(NAT, name, marking)
		match.Comment = ""
	}
	match.Target = "DNAT"
	list := func(to netip.AddrPort) string { return prefix + Hash(r.ID, r.Protocol, to.String()) }
	if r.AffinitySeconds > 0 {
		for _, end := range to.To {
			back := match
			back.Recent, back.RecentSeconds, back.To = list(end), r.AffinitySeconds, end
			c.add(NAT, name, back)
		}
	}
	for i, end := range to.To {
		match.OneIn, match.To = len(to.To)-i, end
		if r.AffinitySeconds > 0 {
			match.Recent, match.Remember = list(end), true
		}
		c.add(NAT, name, match)
		match.Comment = "" // one is enough to find a service by
	}
}

// Hash names a thing in 16 characters, which is what fits into a chain's name.
func Hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base32.StdEncoding.EncodeToString(h.Sum(nil))[:16]
}
