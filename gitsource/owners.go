package gitsource

import (
	"sync"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
)

// owners tells which source has an object, over all inventories. It is read on
// every write of the cluster.
type owners struct {
	mu      sync.RWMutex // guards all below
	entries map[txn.Ref]owner
	rules   map[string]*drift.Rules // by source
	watched map[string]map[txn.Ref]bool
	coming  map[txn.Ref]string // to sources, with the transactions that are being written
}

type owner struct {
	source string
	entry  plan.Entry
}

var _ drift.Inventories = (*owners)(nil)

func newOwners() *owners {
	return &owners{entries: map[txn.Ref]owner{}, rules: map[string]*drift.Rules{}, watched: map[string]map[txn.Ref]bool{}, coming: map[txn.Ref]string{}}
}

// Lookup implements drift.Inventories.
func (o *owners) Lookup(ref txn.Ref) (string, plan.Entry, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	e, ok := o.entries[ref]
	return e.source, e.entry, ok && !e.entry.Left
}

// holder is the source that has an object in its inventory, though it may have
// let go of it.
func (o *owners) holder(ref txn.Ref) (owner, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	e, ok := o.entries[ref]
	return e, ok
}

// of is a source's inventory.
func (o *owners) of(source string) map[txn.Ref]plan.Entry {
	o.mu.RLock()
	defer o.mu.RUnlock()
	out := map[txn.Ref]plan.Entry{}
	for ref, e := range o.entries {
		if e.source == source {
			out[ref] = e.entry
		}
	}
	return out
}

// Rules implements drift.Inventories.
func (o *owners) Rules(source string) *drift.Rules {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.rules[source]
}

// rule sets what a source says of changes.
func (o *owners) rule(source string, r *drift.Rules) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rules[source] = r
}

// source is Lookup for who needs no entry.
func (o *owners) source(ref txn.Ref) (string, bool) {
	source, _, ok := o.Lookup(ref)
	return source, ok
}

// expect says that a source is about to write objects. What becomes of them is
// told to it from now on: somebody may change them before their transaction
// has returned. Without objects it expects nothing more.
func (o *owners) expect(source string, changes []txn.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for ref, of := range o.coming {
		if of == source {
			delete(o.coming, ref)
		}
	}
	for _, c := range changes {
		if o.entries[c.Ref].source != source {
			o.coming[c.Ref] = source
		}
	}
}

// expected is the source that is about to write an object that is not its own
// yet.
func (o *owners) expected(ref txn.Ref) (string, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	source, ok := o.coming[ref]
	return source, ok
}

// watch sets what else a source wants to be told of.
func (o *owners) watch(source string, refs map[txn.Ref]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(refs) == 0 {
		delete(o.watched, source)
		return
	}
	o.watched[source] = refs
}

// watchers are the sources that want to be told of an object beside its owner.
func (o *owners) watchers(ref txn.Ref) []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var out []string
	for source, refs := range o.watched {
		if refs[ref] {
			out = append(out, source)
		}
	}
	return out
}

// replace turns a source's inventory from old into next.
func (o *owners) replace(source string, old, next *plan.Inventory) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for ref := range old.Entries {
		if _, ok := next.Entries[ref]; !ok && o.entries[ref].source == source {
			delete(o.entries, ref)
		}
	}
	for ref, e := range next.Entries {
		if had, ok := old.Entries[ref]; !ok || had != e || o.entries[ref].source == "" {
			o.entries[ref] = owner{source, e}
		}
	}
}
