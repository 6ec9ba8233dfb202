package policy

import (
	"fmt"
	"maps"
	"slices"
)

// table is the wanted sets and chains of one address family, and what of them
// has changed since the last sync.
type table struct {
	names    names
	ipv6     bool
	sets     map[string]*wanted
	chains   map[string][]string
	policies map[direction]map[string]bool // those with a chain
	// stale says that the chains of dispatch may differ: a set has come or gone,
	// or a pod has become isolated or open.
	stale bool

	changedSets   map[string]map[string]bool // elements by set
	changedChains map[string]bool
}

// wanted is a set while anybody refers to it. Elements are counted, as several
// may want one.
type wanted struct {
	kind     Kind
	refs     int
	elements map[string]int
}

func newTable(bridge string, ipv6 bool) *table {
	return &table{names: namesOf(bridge, ipv6), ipv6: ipv6, sets: map[string]*wanted{}, chains: map[string][]string{},
		policies:    map[direction]map[string]bool{ingress: {}, egress: {}},
		changedSets: map[string]map[string]bool{}, changedChains: map[string]bool{}, stale: true}
}

// refer adds a reference to a set and tells whether it is new and empty.
func (t *table) refer(name string, kind Kind) (fresh bool) {
	s := t.sets[name]
	if s == nil {
		s = &wanted{kind: kind, elements: map[string]int{}}
		t.sets[name] = s
		t.touch(name)
		t.stale = true
	}
	s.refs++
	return s.refs == 1
}

// drop takes a reference away; with the last one the set goes, which it tells.
func (t *table) drop(name string) (gone bool) {
	s := t.sets[name]
	if s.refs--; s.refs > 0 {
		return false
	}
	delete(t.sets, name)
	t.touch(name)
	t.stale = true
	return true
}

// count changes how many want an element of a set, if there is such a set.
func (t *table) count(name, element string, by int) {
	s := t.sets[name]
	if s == nil {
		return
	}
	was := s.elements[element]
	if s.elements[element] = was + by; was+by <= 0 {
		delete(s.elements, element)
	}
	if (was > 0) != (was+by > 0) {
		t.touch(name)[element] = true
		t.stale = t.stale || name == t.names.isolated
	}
}

func (t *table) touch(set string) map[string]bool {
	if t.changedSets[set] == nil {
		t.changedSets[set] = map[string]bool{}
	}
	return t.changedSets[set]
}

// setChain makes a chain's rules those; without any it is there and empty.
func (t *table) setChain(name string, rules []string) {
	have, ok := t.chains[name]
	if ok && slices.Equal(have, rules) {
		return
	}
	t.chains[name] = rules
	t.changedChains[name] = true
}

func (t *table) dropChain(name string) {
	if _, ok := t.chains[name]; ok {
		delete(t.chains, name)
		t.changedChains[name] = true
	}
}

// dispatch makes the chains that lead to those of the policies. While nobody is
// isolated there is one, empty.
func (t *table) dispatch() {
	if !t.stale {
		return
	}
	t.stale = false
	n := t.names
	var first []string
	for _, d := range []struct {
		direction   direction
		set, chain  string
		pod, source string
	}{{egress, n.isolatedOut, n.egress, "src", "dst"}, {ingress, n.isolatedIn, n.ingress, "dst", "src"}} {
		if t.sets[d.set] == nil {
			t.dropChain(d.chain)
			continue
		}
		first = append(first, fmt.Sprintf("-m set --match-set %s %s -j %s", d.set, d.pod, d.chain))
		rules := []string{"-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
			fmt.Sprintf("-m set --match-set %s %s -j %s", n.isolated, d.source, n.self), clearMark}
		for _, name := range slices.Sorted(maps.Keys(t.policies[d.direction])) {
			rules = append(rules, fmt.Sprintf("-m set --match-set %s %s -m comment --comment %q -j %s", n.pods(name, d.direction), d.pod, name, n.policy(name, d.direction)))
		}
		t.setChain(d.chain, append(rules, "-m mark ! --mark "+mark+" -j DROP"))
	}
	t.setChain(n.dispatch, first)
	if t.sets[n.isolated] == nil {
		t.dropChain(n.self)
		return
	}
	// A pod always reaches itself: it comes here by way of a Service.
	var self []string
	for _, a := range slices.Sorted(maps.Keys(t.sets[n.isolated].elements)) {
		self = append(self, fmt.Sprintf("-s %s -d %s -j ACCEPT", a, a))
	}
	t.setChain(n.self, self)
}
