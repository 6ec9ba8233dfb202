package nftables

import (
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/knftables"
)

// kind of a thing.
type kind byte

const (
	elementOfMap kind = iota
	elementOfSet
	aChain
	aMap
	aSet
)

// thing is one object of the table.
type thing struct {
	kind kind
	name string
	key  string // of an element
}

// content is what a thing holds.
type content struct {
	// value of an element; the type of a map or set.
	value string
	// comment tells people which service a chain is for.
	comment string
	// rules of a chain.
	rules []string
	// keep is how long a set's elements stay that packets put there.
	keep time.Duration
}

func (c content) equal(o content) bool {
	return c.value == o.value && c.comment == o.comment && c.keep == o.keep && slices.Equal(c.rules, o.rules)
}

// entry is who wants a thing and how. Of several who want an element to be
// different, the first by name has it.
type entry struct {
	owner  string
	want   content
	others map[string]content // nil mostly
}

// registry holds all that is wanted, by whom, and what became different.
type registry struct {
	wanted map[thing]*entry
	owned  map[string][]thing
	dirty  map[thing]bool
}

func newRegistry() *registry {
	return &registry{wanted: map[thing]*entry{}, owned: map[string][]thing{}, dirty: map[thing]bool{}}
}

// replace makes an owner's things those given.
func (r *registry) replace(owner string, want map[thing]content) {
	for _, t := range r.owned[owner] {
		if _, ok := want[t]; !ok {
			r.release(t, owner)
		}
	}
	for t, c := range want {
		r.acquire(t, owner, c)
	}
	if len(want) == 0 {
		delete(r.owned, owner)
		return
	}
	r.owned[owner] = slices.Collect(maps.Keys(want))
}

func (r *registry) acquire(t thing, owner string, want content) {
	e := r.wanted[t]
	switch {
	case e == nil:
		r.wanted[t] = &entry{owner: owner, want: want}
		r.dirty[t] = true
		return
	case e.owner == owner:
		if !e.want.equal(want) {
			e.want = want
			r.dirty[t] = true
		}
		return
	case e.others == nil:
		e.others = map[string]content{}
	}
	e.others[owner] = want
	if owner < e.owner {
		r.hand(t, e, owner)
	}
}

func (r *registry) release(t thing, owner string) {
	e := r.wanted[t]
	switch {
	case e == nil:
	case e.owner != owner:
		delete(e.others, owner)
	case len(e.others) == 0:
		delete(r.wanted, t)
		r.dirty[t] = true
	default:
		r.hand(t, e, slices.Min(slices.Collect(maps.Keys(e.others))))
		delete(e.others, owner)
	}
}

// hand makes one of the others the owner.
func (r *registry) hand(t thing, e *entry, to string) {
	next := e.others[to]
	delete(e.others, to)
	if !next.equal(e.want) {
		r.dirty[t] = true
	}
	e.others[e.owner] = e.want
	e.owner, e.want = to, next
}

// object is a thing in knftables' words.
func (t thing) object(c content) knftables.Object {
	switch t.kind {
	case elementOfMap:
		return &knftables.Element{Map: t.name, Key: []string{t.key}, Value: []string{c.value}}
	case elementOfSet:
		return &knftables.Element{Set: t.name, Key: []string{t.key}}
	case aMap:
		return &knftables.Map{Name: t.name, Type: c.value}
	case aSet:
		set := &knftables.Set{Name: t.name, Type: c.value}
		if c.keep > 0 {
			set.Flags = []knftables.SetFlag{knftables.DynamicFlag, knftables.TimeoutFlag}
			set.Timeout, set.Size = &c.keep, knftables.PtrTo(uint64(affinityClients))
		}
		return set
	}
	chain := &knftables.Chain{Name: t.name}
	if c.comment != "" {
		chain.Comment = &c.comment
	}
	return chain
}
