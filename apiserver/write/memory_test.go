package write_test

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// memory is a store for tests: it compares and writes as the real one does,
// and keeps every View.
type memory struct {
	mu     sync.Mutex
	view   *memoryView
	epochs map[string]int64
	notes  map[string][]byte
	// before, when set, runs once before the next transaction.
	before func()
	// behind, when set, is what Latest gives: this server lags behind others.
	behind *memoryView
}

type memoryView struct {
	revision int64
	objects  map[txn.Ref]*store.Entry
	kinds    []*kind.Kind
}

func newMemory(kinds []*kind.Kind) *memory {
	return &memory{view: &memoryView{revision: 1, kinds: kinds}, epochs: map[string]int64{}, notes: map[string][]byte{}}
}

func (m *memory) Latest() txn.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.behind != nil {
		return m.behind
	}
	return m.view
}

func (m *memory) View(context.Context) (txn.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view, nil
}

func (m *memory) Owns(view txn.View) bool {
	_, ok := view.(*memoryView)
	return ok
}

func (m *memory) Txn(_ context.Context, t store.Txn) (*store.Done, error) {
	m.mu.Lock()
	if hook := m.before; hook != nil {
		m.before = nil
		m.mu.Unlock()
		hook()
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	if t.Epoch.Name != "" && m.epochs[t.Epoch.Name] != t.Epoch.Number {
		return nil, txn.ErrEpoch
	}
	conflict := &txn.ConflictError{}
	at := func(ref txn.Ref) int64 {
		if e := m.view.objects[ref]; e != nil {
			return e.Revision
		}
		return 0
	}
	for _, c := range t.Compares {
		if at(c.Ref) != c.Revision {
			conflict.Refs = append(conflict.Refs, c.Ref)
		}
	}
	lost := make([]bool, len(t.Writes))
	for i, w := range t.Writes {
		if at(w.Ref) != w.Expect {
			lost[i] = true
			if !t.Independent {
				conflict.Refs = append(conflict.Refs, w.Ref)
			}
		}
	}
	if len(conflict.Refs) > 0 {
		return nil, conflict
	}
	next := &memoryView{revision: m.view.revision + 1, objects: maps.Clone(m.view.objects), kinds: m.view.kinds}
	if next.objects == nil {
		next.objects = map[txn.Ref]*store.Entry{}
	}
	done := &store.Done{Revision: next.revision, Entries: make([]*store.Entry, len(t.Writes))}
	if t.Independent {
		done.Lost = lost
	}
	for i, w := range t.Writes {
		if lost[i] {
			continue
		}
		if w.Object == nil {
			delete(next.objects, w.Ref)
			continue
		}
		o := w.Object.DeepCopyObject().(txn.Object)
		o.SetResourceVersion(strconv.FormatInt(next.revision, 10))
		done.Entries[i] = &store.Entry{Ref: w.Ref, Object: o, Revision: next.revision}
		next.objects[w.Ref] = done.Entries[i]
	}
	for _, n := range t.Notes {
		m.notes[n.Key] = n.Value
	}
	m.view = next
	return done, nil
}

func (m *memory) Notes(context.Context, string) ([]txn.Note, error) { return nil, nil }

func (m *memory) Acquire(_ context.Context, name string) (txn.Epoch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epochs[name]++
	return txn.Epoch{Name: name, Number: m.epochs[name]}, nil
}

func (v *memoryView) Revision() int64 { return v.revision }

func (v *memoryView) Get(ref txn.Ref) (txn.Object, bool) {
	if e := v.objects[ref]; e != nil {
		return e.Object, true
	}
	return nil, false
}

func (v *memoryView) Each(resource schema.GroupResource, namespace string) iter.Seq[txn.Object] {
	return func(yield func(txn.Object) bool) {
		refs := slices.SortedFunc(maps.Keys(v.objects), txn.Ref.Compare)
		for _, ref := range refs {
			if ref.Resource == resource && (namespace == "" || ref.Namespace == namespace) && !yield(v.objects[ref].Object) {
				return
			}
		}
	}
}

func (v *memoryView) EachIndexed(resource schema.GroupResource, index, value string) iter.Seq[txn.Object] {
	return func(yield func(txn.Object) bool) {
		for _, k := range v.kinds {
			if k.Resource() != resource {
				continue
			}
			for o := range v.Each(resource, "") {
				if slices.Contains(k.Indexes[index](o), value) && !yield(o) {
					return
				}
			}
		}
	}
}
