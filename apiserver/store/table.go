package store

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

type groupResource = schema.GroupResource

// degree of the trees: an update copies a path of nodes of up to 31 rows.
const degree = 16

// row is an entry with its key beside it, so that searches touch no objects.
type row struct {
	namespace, name string
	entry           *Entry
}

func (r row) less(o row) bool {
	if c := strings.Compare(r.namespace, o.namespace); c != 0 {
		return c < 0
	}
	return r.name < o.name
}

// mark says that the object has the value in an index. It names the object
// instead of holding it: an update that leaves the value alone costs nothing.
type mark struct {
	value           string
	namespace, name string
}

func (m mark) less(o mark) bool {
	return cmp.Or(strings.Compare(m.value, o.value), strings.Compare(m.namespace, o.namespace), strings.Compare(m.name, o.name)) < 0
}

// Corrupt is a stored value that cannot be decoded. The object is not served;
// a write that expects Revision removes or replaces it.
type Corrupt struct {
	Ref      txn.Ref
	Key      string
	Revision int64
	Err      error
}

// table is one resource at one revision. Published tables never change; the
// apply loop owns one unpublished table per resource and clones it.
type table struct {
	resource *Resource
	received *atomic.Int64 // changes that came from the backend; shared by all of the resource's tables
	rows     *btree.BTreeG[row]
	indexes  map[string]*btree.BTreeG[mark]
	corrupt  map[string]Corrupt // by key; replaced, never changed, once published
	// changed is the revision of the newest change: from then on until the
	// snapshot's revision the table was the same.
	changed int64
}

func newTable(r *Resource, revision int64) *table {
	t := &table{resource: r, received: new(atomic.Int64), rows: btree.NewG(degree, row.less), indexes: map[string]*btree.BTreeG[mark]{}, changed: revision}
	for name := range r.Indexes {
		t.indexes[name] = btree.NewG(degree, mark.less)
	}
	return t
}

// clone freezes the table's state into a new one.
func (t *table) clone() *table {
	c := &table{resource: t.resource, received: t.received, rows: t.rows.Clone(), indexes: make(map[string]*btree.BTreeG[mark], len(t.indexes)), corrupt: maps.Clone(t.corrupt), changed: t.changed}
	for name, tree := range t.indexes {
		c.indexes[name] = tree.Clone()
	}
	return c
}

func (t *table) get(namespace, name string) *Entry {
	r, _ := t.rows.Get(row{namespace: namespace, name: name})
	return r.entry
}

// put stores e and returns what was there.
func (t *table) put(e *Entry) *Entry {
	old, _ := t.rows.ReplaceOrInsert(row{e.Ref.Namespace, e.Ref.Name, e})
	t.reindex(e.Ref, old.entry, e)
	return old.entry
}

// remove takes the object out and returns it.
func (t *table) remove(ref txn.Ref) *Entry {
	old, ok := t.rows.Delete(row{namespace: ref.Namespace, name: ref.Name})
	if !ok {
		return nil
	}
	t.reindex(ref, old.entry, nil)
	return old.entry
}

func (t *table) reindex(ref txn.Ref, before, after *Entry) {
	for name, values := range t.resource.Indexes {
		var old, now []string
		if before != nil {
			old = values(before.Object)
		}
		if after != nil {
			now = values(after.Object)
		}
		if slices.Equal(old, now) {
			continue
		}
		for _, v := range old {
			t.indexes[name].Delete(mark{v, ref.Namespace, ref.Name})
		}
		for _, v := range now {
			t.indexes[name].ReplaceOrInsert(mark{v, ref.Namespace, ref.Name})
		}
	}
}

// revision is the modification revision of the object's key; 0: no such key.
func (t *table) revision(ref txn.Ref) int64 {
	if e := t.get(ref.Namespace, ref.Name); e != nil {
		return e.Revision
	}
	if len(t.corrupt) > 0 {
		return t.corrupt[t.resource.key(ref)].Revision
	}
	return 0
}
