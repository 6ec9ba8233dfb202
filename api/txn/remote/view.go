package remote

import (
	"fmt"
	"iter"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// view is a fetched View; it never changes once it is complete.
type view struct {
	config   Config
	revision int64
	tables   map[schema.GroupResource]*table
}

// table has a resource's objects in the order of namespace and name, which is
// how the server sends them.
type table struct {
	objects []txn.Object
	byRef   map[txn.Ref]txn.Object
}

var _ txn.View = (*view)(nil)

func newView(c Config) *view {
	v := &view{config: c, tables: map[schema.GroupResource]*table{}}
	for _, r := range c.Resources {
		v.tables[r] = &table{byRef: map[txn.Ref]txn.Object{}}
	}
	return v
}

func (v *view) add(r schema.GroupResource, o txn.Object) {
	t := v.table(r)
	t.objects = append(t.objects, o)
	t.byRef[txn.Ref{Resource: r, Namespace: o.GetNamespace(), Name: o.GetName()}] = o
}

func (v *view) table(r schema.GroupResource) *table {
	t, ok := v.tables[r]
	if !ok {
		panic(fmt.Sprintf("txn/remote: resource %s is not among the client's Resources", r))
	}
	return t
}

// Revision is the server's revision that the View shows.
func (v *view) Revision() int64 { return v.revision }

// Get returns an object, or false.
func (v *view) Get(ref txn.Ref) (txn.Object, bool) {
	o, ok := v.table(ref.Resource).byRef[ref]
	return o, ok
}

// Each yields a resource's objects in order.
func (v *view) Each(r schema.GroupResource, namespace string) iter.Seq[txn.Object] {
	return func(yield func(txn.Object) bool) {
		for _, o := range v.table(r).objects {
			if (namespace == "" || o.GetNamespace() == namespace) && !yield(o) {
				return
			}
		}
	}
}

// EachIndexed yields the objects that have the value.
func (v *view) EachIndexed(r schema.GroupResource, index, value string) iter.Seq[txn.Object] {
	f := v.config.Indexes[r][index]
	if f == nil {
		panic(fmt.Sprintf("txn/remote: resource %s has no index %q", r, index))
	}
	return func(yield func(txn.Object) bool) {
		for o := range v.Each(r, "") {
			if slices.Contains(f(o), value) && !yield(o) {
				return
			}
		}
	}
}
