package kinds

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/kind"
)

// Table looks kinds up. It never changes after New and may be used
// concurrently.
type Table struct {
	kinds      []*kind.Kind
	byGVK      map[schema.GroupVersionKind]*kind.Kind
	byGVR      map[schema.GroupVersionResource]*kind.Kind
	byResource map[schema.GroupResource]*kind.Kind
	byName     map[string][]*kind.Kind
}

// New makes a table of the rows; two rows for one resource, kind or storage
// prefix are an error.
func New(rows []*kind.Kind) (*Table, error) {
	t := &Table{
		kinds:      rows,
		byGVK:      make(map[schema.GroupVersionKind]*kind.Kind, len(rows)),
		byGVR:      make(map[schema.GroupVersionResource]*kind.Kind, len(rows)),
		byResource: make(map[schema.GroupResource]*kind.Kind, len(rows)),
		byName:     make(map[string][]*kind.Kind, 3*len(rows)),
	}
	prefixes := make(map[string]*kind.Kind, len(rows))
	for _, k := range rows {
		if other, ok := t.byResource[k.Resource()]; ok {
			return nil, fmt.Errorf("add kind %s: resource %s is taken by %s", k.GVK, k.Resource(), other.GVK)
		}
		if other, ok := t.byGVK[k.GVK]; ok {
			return nil, fmt.Errorf("add kind %s: the kind is taken by %s", k.GVK, other.Plural)
		}
		if other, ok := prefixes[k.StoragePrefix]; ok {
			return nil, fmt.Errorf("add kind %s: storage prefix %q is taken by %s", k.GVK, k.StoragePrefix, other.GVK)
		}
		t.byResource[k.Resource()], prefixes[k.StoragePrefix] = k, k
		for _, row := range k.Rows() {
			t.byGVK[row.GVK], t.byGVR[row.GVR()] = row, row
		}
		names := map[string]bool{k.Plural: true, k.Singular: true, strings.ToLower(k.GVK.Kind): true}
		for _, s := range k.ShortNames {
			names[s] = true
		}
		for name := range names {
			t.byName[name] = append(t.byName[name], k)
		}
	}
	return t, nil
}

// All returns the storage versions' rows in their order; the slice is shared.
func (t *Table) All() []*kind.Kind { return t.kinds }

// ByGVK finds the row of a served version's kind.
func (t *Table) ByGVK(gvk schema.GroupVersionKind) (*kind.Kind, bool) {
	k, ok := t.byGVK[gvk]
	return k, ok
}

// ByGVR finds the row of a served version's resource.
func (t *Table) ByGVR(gvr schema.GroupVersionResource) (*kind.Kind, bool) {
	k, ok := t.byGVR[gvr]
	return k, ok
}

// ByResource finds the storage version's row of a resource, whatever version it
// is asked in.
func (t *Table) ByResource(resource schema.GroupResource) (*kind.Kind, bool) {
	k, ok := t.byResource[resource]
	return k, ok
}

// ByName finds rows by plural, singular, lower-case kind or short name, in the
// order of the table; several groups may have one name.
func (t *Table) ByName(name string) []*kind.Kind {
	return t.byName[strings.ToLower(name)]
}
