package nftables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/headway-sh/headway/proxy/rules"
)

const (
	// direct is the most endpoints that are found without a verdict map first:
	// for each number up to it every packet is looked up once.
	direct = 4
	// affinityClients is how many clients of one endpoint are remembered.
	affinityClients = 65535
	// mark is the bit that says "masquerade".
	mark = "0x200000"
)

const anyPort = "meta l4proto { tcp, udp, sctp }"

// language is how one address family is spelled.
type language struct {
	ip, addr string // "ip", "ipv4_addr"
}

func (l language) frontend() string { return l.ip + " daddr . meta l4proto . th dport" }
func (l language) frontendType() string {
	return l.addr + " . inet_proto . inet_service"
}
func (l language) endpointType() string { return l.addr + " . inet_service" }

const (
	port     = "meta l4proto . th dport"
	portType = "inet_proto . inet_service"
)

// compiler makes the things of one Service.
type compiler struct {
	language
	cluster netip.Prefix
	want    map[thing]content
}

func (c *compiler) update(u *rules.Update) map[thing]content {
	c.want = map[thing]content{}
	for i := range u.Rows {
		c.row(&u.Rows[i])
	}
	for _, ip := range u.ClusterIPs() {
		c.want[thing{elementOfSet, clusterIPs, ip.String()}] = content{}
	}
	for _, ip := range u.Local {
		c.want[thing{elementOfSet, hairpins, ip.String() + " . " + ip.String()}] = content{}
	}
	return c.want
}

// side is by what a frontend is found: its address, or its port on this node.
type side struct{ prefix, key string }

func sideOf(f *rules.Frontend) side {
	if f.IP.IsValid() {
		return side{"", fmt.Sprintf("%s . %s . %d", f.IP, f.Protocol, f.Port)}
	}
	return side{"node-", fmt.Sprintf("%s . %d", f.Protocol, f.Port)}
}

func (c *compiler) row(r *rules.Row) {
	at := sideOf(&r.Frontend)
	uniform := r.Internal || same(r.Pods, r.World) && same(r.Host, r.World)
	if len(r.Pods.To) > 0 || len(r.Host.To) > 0 || len(r.World.To) > 0 {
		if uniform && len(r.Ranges) == 0 && r.AffinitySeconds == 0 {
			c.plain(at, r)
		} else {
			chain := "row-" + hash(r.ID, at.key)
			c.want[thing{elementOfMap, at.prefix + services, at.key}] = content{value: "goto " + chain}
			c.own(chain, r, uniform)
		}
	}
	if len(r.Pods.To) == 0 || len(r.Host.To) == 0 || len(r.World.To) == 0 || len(r.Ranges) > 0 {
		verdict := "goto " + reject
		if r.Refusal == rules.Drop {
			verdict = "drop"
		}
		c.want[thing{elementOfMap, at.prefix + refused, at.key}] = content{value: verdict}
	}
}

func same(a, b rules.Action) bool {
	if a.Masquerade != b.Masquerade || len(a.To) != len(b.To) {
		return false
	}
	for i := range a.To {
		if a.To[i] != b.To[i] {
			return false
		}
	}
	return true
}

// plain puts a row's endpoints into the maps for their number.
func (c *compiler) plain(at side, r *rules.Row) {
	to := r.World
	if to.Masquerade && !r.Internal {
		c.want[thing{elementOfSet, at.prefix + marked, at.key}] = content{}
	}
	n := len(to.To)
	if n > direct {
		c.want[thing{elementOfMap, at.prefix + services, at.key}] = content{value: "goto " + ofName(at, n)}
		c.want[thing{kind: aChain, name: ofName(at, n)}] = content{rules: []string{pick(n, "goto", func(i int) string { return slotName(at, i) })}}
	}
	for i, end := range to.To {
		name := directName(at, n, i)
		if n > direct {
			name = slotName(at, i)
			c.slot(at, name)
		}
		c.want[thing{elementOfMap, name, at.key}] = content{value: fmt.Sprintf("%s . %d", end.Addr(), end.Port())}
	}
}

func directName(at side, n, i int) string { return fmt.Sprintf("%sends-%d-%d", at.prefix, n, i) }
func slotName(at side, i int) string      { return fmt.Sprintf("%sslot-%d", at.prefix, i) }
func ofName(at side, n int) string        { return fmt.Sprintf("%sof-%d", at.prefix, n) }

// slot is a map of endpoints with a chain that leads to them.
func (c *compiler) slot(at side, name string) {
	key, types := c.frontend(), c.frontendType()
	if at.prefix != "" {
		key, types = port, portType
	}
	c.want[thing{kind: aMap, name: name}] = content{value: types + " : " + c.endpointType()}
	c.want[thing{kind: aChain, name: name}] = content{rules: []string{fmt.Sprintf("%s dnat %s to %s map @%s", anyPort, c.ip, key, name)}}
}

// pick spreads over n chains evenly.
func pick(n int, verb string, name func(int) string) string {
	choices := make([]string, n)
	for i := range choices {
		choices[i] = fmt.Sprintf("%d : %s %s", i, verb, name(i))
	}
	return fmt.Sprintf("numgen random mod %d vmap { %s }", n, strings.Join(choices, " , "))
}

// own is the chain of a row that needs one.
func (c *compiler) own(chain string, r *rules.Row, uniform bool) {
	var lines []string
	if len(r.Ranges) > 0 {
		texts := make([]string, len(r.Ranges))
		for i, p := range r.Ranges {
			texts[i] = p.String()
		}
		lines = append(lines, fmt.Sprintf("%s saddr != { %s } return", c.ip, strings.Join(texts, ", ")))
	}
	if !uniform {
		for _, branch := range []struct {
			kind, match string
			to          rules.Action
		}{
			{"pods", c.ip + " saddr " + c.cluster.String(), r.Pods},
			{"host", "fib saddr type local", r.Host},
		} {
			switch name := branch.kind + strings.TrimPrefix(chain, "row"); {
			case branch.kind == "pods" && !c.cluster.IsValid():
			case len(branch.to.To) == 0: // must not fall through to the next branch
				lines = append(lines, branch.match+" return")
			default:
				lines = append(lines, branch.match+" goto "+name)
				c.want[thing{kind: aChain, name: name}] = content{comment: r.ID, rules: c.pool(r, branch.to)}
			}
		}
	}
	c.want[thing{kind: aChain, name: chain}] = content{comment: r.ID, rules: append(lines, c.pool(r, r.World)...)}
}

// pool are the rules that lead to endpoints, after sending clients with
// affinity where they were before.
func (c *compiler) pool(r *rules.Row, to rules.Action) []string {
	if len(to.To) == 0 {
		return nil
	}
	var lines []string
	if to.Masquerade && !r.Internal {
		lines = append(lines, "meta mark set mark or "+mark)
	}
	if r.AffinitySeconds == 0 {
		choices := make([]string, len(to.To))
		for i, end := range to.To {
			choices[i] = fmt.Sprintf("%d : %s . %d", i, end.Addr(), end.Port())
		}
		return append(lines, fmt.Sprintf("meta l4proto %s dnat %s to numgen random mod %d map { %s }", r.Protocol, c.ip, len(choices), strings.Join(choices, " , ")))
	}
	stick := make([]string, len(to.To))
	for i, end := range to.To {
		// The time is part of the name: a set's cannot be changed.
		id := hash(r.ID, r.Protocol, end.String(), strconv.Itoa(r.AffinitySeconds))
		stick[i] = "stick-" + id
		set, dnat := affinityPrefix+id, fmt.Sprintf("meta l4proto %s dnat to %s", r.Protocol, end)
		c.want[thing{kind: aSet, name: set}] = content{value: c.addr, keep: time.Duration(r.AffinitySeconds) * time.Second}
		c.want[thing{kind: aChain, name: stick[i]}] = content{rules: []string{fmt.Sprintf("update @%s { %s saddr }", set, c.ip), dnat}}
		lines = append(lines, fmt.Sprintf("%s saddr @%s %s", c.ip, set, dnat))
	}
	return append(lines, pick(len(stick), "goto", func(i int) string { return stick[i] }))
}

func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
