package store

import (
	"fmt"
	"iter"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// Snapshot is all objects at one revision. It never changes and may be held and
// used concurrently; objects and entries that it yields are shared.
type Snapshot struct {
	revision int64
	catalog  *catalog
	tables   []*table // by the catalog's numbers; nil where there is none
	epochs   map[string]epoch
}

var _ txn.View = (*Snapshot)(nil)

// Revision is the backend's revision that the snapshot shows. It is never the
// revision of a batch.
func (s *Snapshot) Revision() int64 { return s.revision }

// table returns the resource's table, or nil when the store does not have it.
func (s *Snapshot) table(resource schema.GroupResource) *table {
	if n, ok := s.catalog.numbers[resource]; ok {
		return s.tables[n]
	}
	return nil
}

// Entry returns the shared entry, or nil when there is none.
func (s *Snapshot) Entry(ref txn.Ref) *Entry {
	t := s.table(ref.Resource)
	if t == nil {
		return nil
	}
	return t.get(ref.Namespace, ref.Name)
}

// Get returns the shared object, or false when there is none.
func (s *Snapshot) Get(ref txn.Ref) (txn.Object, bool) {
	if e := s.Entry(ref); e != nil {
		return e.Object, true
	}
	return nil, false
}

// Entries yields the resource's entries in the order of namespace and name; an
// empty namespace means all of them.
func (s *Snapshot) Entries(resource schema.GroupResource, namespace string) iter.Seq[*Entry] {
	return s.EntriesFrom(resource, namespace, "", "")
}

// EntriesFrom is Entries beginning with the first entry that does not sort
// before (fromNamespace, fromName): the next page of a chunked list.
func (s *Snapshot) EntriesFrom(resource schema.GroupResource, namespace, fromNamespace, fromName string) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		t := s.table(resource)
		if t == nil {
			return
		}
		start := row{namespace: fromNamespace, name: fromName}
		if namespace != "" && start.less(row{namespace: namespace}) {
			start = row{namespace: namespace}
		}
		t.rows.AscendGreaterOrEqual(start, func(r row) bool {
			if namespace != "" && r.namespace != namespace {
				return false
			}
			return yield(r.entry)
		})
	}
}

// HasIndex tells whether the resource is indexed under the name. Only who asks
// for a resource that comes and goes, and whose indexes change, has to know.
func (s *Snapshot) HasIndex(resource schema.GroupResource, index string) bool {
	t := s.table(resource)
	return t != nil && t.indexes[index] != nil
}

// EntriesIndexed yields the entries that have the value in the index, in the
// order of namespace and name. An unknown index panics.
func (s *Snapshot) EntriesIndexed(resource schema.GroupResource, index, value string) iter.Seq[*Entry] {
	t := s.table(resource)
	if t == nil {
		return func(func(*Entry) bool) {}
	}
	tree, ok := t.indexes[index]
	if !ok {
		panic(fmt.Sprintf("store: resource %s has no index %q", resource, index))
	}
	return func(yield func(*Entry) bool) {
		tree.AscendGreaterOrEqual(mark{value: value}, func(m mark) bool {
			return m.value == value && yield(t.get(m.namespace, m.name))
		})
	}
}

// Each yields the shared objects of Entries.
func (s *Snapshot) Each(resource schema.GroupResource, namespace string) iter.Seq[txn.Object] {
	return objects(s.Entries(resource, namespace))
}

// EachIndexed yields the shared objects of EntriesIndexed.
func (s *Snapshot) EachIndexed(resource schema.GroupResource, index, value string) iter.Seq[txn.Object] {
	return objects(s.EntriesIndexed(resource, index, value))
}

func objects(entries iter.Seq[*Entry]) iter.Seq[txn.Object] {
	return func(yield func(txn.Object) bool) {
		for e := range entries {
			if !yield(e.Object) {
				return
			}
		}
	}
}

// Count is how many objects the resource has.
func (s *Snapshot) Count(resource schema.GroupResource) int {
	if t := s.table(resource); t != nil {
		return t.rows.Len()
	}
	return 0
}

// Received is how many changes of the resource have come from the backend since
// the store was opened.
func (s *Snapshot) Received(resource schema.GroupResource) int64 {
	if t := s.table(resource); t != nil {
		return t.received.Load()
	}
	return 0
}

// Changed is the revision of the resource's newest change that is known here: as
// long as it is the same, so are the objects. 0: there is no such resource.
func (s *Snapshot) Changed(resource schema.GroupResource) int64 {
	if t := s.table(resource); t != nil {
		return t.changed
	}
	return 0
}

// Has tells whether the store knows the resource.
func (s *Snapshot) Has(resource schema.GroupResource) bool { return s.table(resource) != nil }

// Corrupt yields the stored values that could not be decoded.
func (s *Snapshot) Corrupt() iter.Seq[Corrupt] {
	return func(yield func(Corrupt) bool) {
		for _, t := range s.tables {
			if t == nil {
				continue
			}
			for _, c := range t.corrupt {
				if !yield(c) {
					return
				}
			}
		}
	}
}
