package nftables

import (
	"fmt"
	"net/netip"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/headway-sh/headway/proxy/rules"
)

// TableName is our table's, in each family.
const TableName = "headway-services"

// Names of the fixed maps, sets and chains; those for node ports have "node-"
// before them.
const (
	services       = "services"
	refused        = "refused"
	marked         = "marked"
	reject         = "nobody"
	hairpins       = "hairpins"
	clusterIPs     = "cluster-ips"
	foreign        = "foreign"
	affinityPrefix = "client-"
)

// fixed is who owns what is there without any Service.
const fixed = ""

// base is a chain on a hook.
type base struct {
	name     string
	kind     knftables.BaseChainType
	hook     knftables.BaseChainHook
	priority knftables.BaseChainPriority
	rules    []string
}

// bases are the chains that the kernel calls.
func bases(l language, cluster netip.Prefix, localhost bool) []base {
	post := []string{fmt.Sprintf("meta mark & %s == %s masquerade fully-random", mark, mark)}
	if cluster.IsValid() {
		post = append(post, fmt.Sprintf("%s saddr != %s ct status dnat jump %s", l.ip, cluster, foreign))
	}
	post = append(post, fmt.Sprintf("ct status dnat %s saddr . %s daddr @%s masquerade fully-random", l.ip, l.ip, hairpins))
	refuse := []string{"ct state new jump refuse"}
	out := []base{
		{"prerouting", knftables.NATType, knftables.PreroutingHook, knftables.DNATPriority, []string{"jump " + services}},
		{"output", knftables.NATType, knftables.OutputHook, "-100", []string{"jump " + services}},
		{"postrouting", knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority, post},
		{"filter-input", knftables.FilterType, knftables.InputHook, knftables.FilterPriority, refuse},
		{"filter-forward", knftables.FilterType, knftables.ForwardHook, knftables.FilterPriority, refuse},
		{"filter-output", knftables.FilterType, knftables.OutputHook, knftables.FilterPriority, refuse},
	}
	if localhost {
		out = append(out, base{"martians", knftables.FilterType, knftables.PreroutingHook, knftables.RawPriority,
			[]string{`iifname != "lo" ip saddr 127.0.0.0/8 drop`, `iifname != "lo" ip daddr 127.0.0.0/8 drop`}})
	}
	return out
}

// skeleton is what is wanted without any Service, base chains apart.
func skeleton(l language, localhost bool) map[thing]content {
	want := map[thing]content{
		{kind: aSet, name: hairpins}:   {value: l.addr + " . " + l.addr},
		{kind: aSet, name: clusterIPs}: {value: l.addr},
		{kind: aChain, name: reject}:   {rules: []string{"reject"}},
	}
	local := "fib daddr type local"
	switch {
	case localhost:
	case l.ip == "ip6":
		local += " ip6 daddr != ::1"
	default:
		local += " ip daddr != 127.0.0.0/8"
	}
	var refuse []string
	for _, s := range []struct{ prefix, key, types, jump string }{
		{"", l.frontend(), l.frontendType(), ""},
		{"node-", port, portType, local},
	} {
		want[thing{kind: aMap, name: s.prefix + services}] = content{value: s.types + " : verdict"}
		want[thing{kind: aMap, name: s.prefix + refused}] = content{value: s.types + " : verdict"}
		want[thing{kind: aSet, name: s.prefix + marked}] = content{value: s.types}
		refuse = append(refuse, strings.TrimSpace(s.jump+" "+s.key+" vmap @"+s.prefix+refused))
		lines := []string{
			fmt.Sprintf("%s @%s meta mark set mark or %s", s.key, s.prefix+marked, mark),
			fmt.Sprintf("%s vmap @%s", s.key, s.prefix+services),
		}
		c := compiler{language: l, want: want}
		at := side{prefix: s.prefix}
		for n := 1; n <= direct; n++ {
			for i := range n {
				c.slot(at, directName(at, n, i))
			}
			if n == 1 {
				lines = append(lines, "jump "+directName(at, 1, 0))
				continue
			}
			lines = append(lines, pick(n, "jump", func(i int) string { return directName(at, n, i) }))
		}
		if s.prefix == "" {
			lines = append(lines, local+" jump node-"+services)
		}
		want[thing{kind: aChain, name: s.prefix + services}] = content{rules: lines}
	}
	// What is served has another address by now.
	refuse = append(refuse, fmt.Sprintf("%s daddr @%s goto %s", l.ip, clusterIPs, reject))
	want[thing{kind: aChain, name: "refuse"}] = content{rules: refuse}
	return want
}

// coverLimit is how many prefixes stand for all cluster IPs.
const coverLimit = 8

// foreignChain masquerades what was made to a cluster IP.
func foreignChain(l language, vips []netip.Addr) content {
	var texts []string
	for _, p := range rules.Cover(vips, coverLimit) {
		texts = append(texts, p.String())
	}
	if len(texts) == 0 {
		return content{}
	}
	return content{rules: []string{fmt.Sprintf("ct original %s daddr { %s } masquerade fully-random", l.ip, strings.Join(texts, ", "))}}
}
