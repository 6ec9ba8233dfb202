package nftables

import (
	"cmp"
	"slices"

	"sigs.k8s.io/knftables"
)

// diff sorts changes by what the kernel must hear first: a thing must be there
// before it is referred to, and no longer be referred to when it goes.
type diff struct {
	wanted map[thing]*entry
	have   map[thing]content

	containers, fill, elements, staleElements, stale []thing
}

func (d *diff) sort(t thing) {
	e, want := d.wanted[t]
	had, have := d.have[t]
	element := t.kind == elementOfMap || t.kind == elementOfSet
	switch {
	case want && have && had.equal(e.want):
		return
	case element && have:
		d.staleElements = append(d.staleElements, t)
	case !element && have && !want:
		d.stale = append(d.stale, t)
	}
	switch {
	case !want:
	case element:
		d.elements = append(d.elements, t)
	default:
		d.containers = append(d.containers, t)
		if t.kind == aChain {
			d.fill = append(d.fill, t)
		}
	}
}

func (d *diff) into(tx *knftables.Transaction) {
	for _, list := range [][]thing{d.containers, d.fill, d.elements, d.staleElements, d.stale} {
		slices.SortFunc(list, func(a, b thing) int {
			return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key))
		})
	}
	for _, t := range d.staleElements {
		tx.Delete(t.object(d.have[t]))
	}
	for _, t := range d.stale {
		if t.kind == aChain {
			tx.Flush(t.object(content{}))
		}
	}
	for _, t := range d.containers {
		tx.Add(t.object(d.wanted[t].want))
	}
	for _, t := range d.fill {
		if _, have := d.have[t]; have {
			tx.Flush(t.object(content{}))
		}
	}
	for _, t := range d.fill {
		for _, line := range d.wanted[t].want.rules {
			tx.Add(&knftables.Rule{Chain: t.name, Rule: line})
		}
	}
	for _, t := range d.elements {
		tx.Add(t.object(d.wanted[t].want))
	}
	for _, t := range d.stale {
		tx.Delete(t.object(content{value: d.have[t].value}))
	}
}
