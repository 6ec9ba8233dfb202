package kind

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// A kind that is served in several versions has a row for each of them. They
// share what is stored, which is of the storage version: the functions of every
// row take and give objects of the storage version's type, and only what goes
// over the wire is converted.
//
//	wire, any version ── ToStored ──▶ default, validate, store ── FromStored ──▶ wire, any version

// Version says how a further version of a kind differs.
type Version struct {
	// GVK may be of another group than the storage version's.
	GVK schema.GroupVersionKind
	// New and NewList make empty objects of the version's type.
	New     func() txn.Object
	NewList func() runtime.Object
	// From and To convert from and to the storage version. They do not change
	// what they are given, and what they return may share parts with it.
	From, To func(o txn.Object) (txn.Object, error)
}

// Serve adds a row for a further version and returns it: a copy of k, whose
// functions may be replaced where the version has rules of its own.
func (k *Kind) Serve(v Version) *Kind {
	row := *k
	row.GVK, row.New, row.NewList, row.Versions = v.GVK, v.New, v.NewList, nil
	k.Add(&row, v.From, v.To)
	return &row
}

// Add adds a finished row for a further version.
func (k *Kind) Add(row *Kind, from, to func(o txn.Object) (txn.Object, error)) {
	k.Versions = append(k.Versions, row)
	row.stored, row.from, row.to, row.number = k, from, to, len(k.Versions)
}

// Stored is the row of the storage version.
func (k *Kind) Stored() *Kind {
	if k.stored != nil {
		return k.stored
	}
	return k
}

// Number tells the rows of one kind apart; the storage version's is 0.
func (k *Kind) Number() int { return k.number }

// Rows are the rows of all versions that are served.
func (k *Kind) Rows() []*Kind {
	var rows []*Kind
	for _, row := range append([]*Kind{k}, k.Versions...) {
		if !row.Hidden {
			rows = append(rows, row)
		}
	}
	return rows
}

// StoredIndexes are what the store keeps: the indexes of all versions that are
// served, all of them on stored objects.
func (k *Kind) StoredIndexes() map[string]func(o txn.Object) []string {
	all := map[string]func(txn.Object) []string{}
	for _, row := range k.Stored().Rows() {
		maps.Copy(all, row.Indexes)
	}
	return all
}

// In is the row of a group and version, served or not.
func (k *Kind) In(gv schema.GroupVersion) (*Kind, bool) {
	k = k.Stored()
	if k.GVK.GroupVersion() == gv {
		return k, true
	}
	for _, row := range k.Versions {
		if row.GVK.GroupVersion() == gv {
			return row, true
		}
	}
	return nil, false
}

// FromStored gives a stored object in the row's version: the object itself in
// the storage version's row, otherwise one that may share parts with it.
func (k *Kind) FromStored(o txn.Object) (txn.Object, error) {
	if k.stored == nil {
		return o, nil
	}
	out, err := k.from(o)
	if err != nil {
		return nil, fmt.Errorf("convert %s %q to %s: %w", k.GVK.Kind, o.GetName(), k.GVK.GroupVersion(), err)
	}
	out.GetObjectKind().SetGroupVersionKind(k.GVK)
	return out, nil
}

// ToStored gives an object of the row's version in the storage version; it may
// share parts with o.
func (k *Kind) ToStored(o txn.Object) (txn.Object, error) {
	if k.stored == nil {
		return o, nil
	}
	out, err := k.to(o)
	if err != nil {
		return nil, fmt.Errorf("convert %s %q from %s: %w", k.GVK.Kind, o.GetName(), k.GVK.GroupVersion(), err)
	}
	out.GetObjectKind().SetGroupVersionKind(k.stored.GVK)
	return out, nil
}
