package fieldmanager

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

const (
	// maxUpdaters is how many managers with updates an object has before the
	// oldest are merged, which is left to the library.
	maxUpdaters = 10
	fieldsV1    = "FieldsV1"
)

// serverFields belong to no manager.
var serverFields = fieldpath.NewSet(
	fieldpath.MakePathOrDie("apiVersion"), fieldpath.MakePathOrDie("kind"), fieldpath.MakePathOrDie("metadata"),
	fieldpath.MakePathOrDie("metadata", "name"), fieldpath.MakePathOrDie("metadata", "namespace"),
	fieldpath.MakePathOrDie("metadata", "creationTimestamp"), fieldpath.MakePathOrDie("metadata", "selfLink"),
	fieldpath.MakePathOrDie("metadata", "uid"), fieldpath.MakePathOrDie("metadata", "clusterName"),
	fieldpath.MakePathOrDie("metadata", "generation"), fieldpath.MakePathOrDie("metadata", "managedFields"),
	fieldpath.MakePathOrDie("metadata", "resourceVersion"),
)

// Update sets o's managedFields for a plain write by w that replaces old, nil
// on creation, with o. Managed fields that the writer itself has set in o are
// respected as Kubernetes does: an empty list resets them.
//
// The usual write is dealt with here: the writer gets what it changed, the
// others lose it. What is unusual goes to the library, which is also the test
// oracle for this path.
func (f *Fields) Update(k *kind.Kind, old, o txn.Object, w Writer) error {
	entries, ok := usual(k, old, o, w)
	if !ok {
		return f.updateByLibrary(k, old, o, w)
	}
	if old != nil && len(entries) == 0 {
		o.SetManagedFields(nil) // an object that is not tracked stays so
		return nil
	}
	if old == nil && w.Subresource == "" {
		return f.create(k, o, w)
	}
	return f.change(k, old, o, entries, w)
}

// create gives the creator what a new object has.
func (f *Fields) create(k *kind.Kind, o txn.Object, w Writer) error {
	outline := f.creations.outline(k.GVK, o)
	if fields := f.creations.get(outline); fields != nil {
		e := newEntry(w)
		e.Time, e.FieldsV1 = stampOf(w), fields
		o.SetManagedFields([]metav1.ManagedFieldsEntry{e})
		return nil
	}
	if err := f.change(k, nil, o, nil, w); err != nil {
		return err
	}
	if entries := o.GetManagedFields(); len(entries) == 1 {
		f.creations.add(outline, entries[0].FieldsV1)
	}
	return nil
}

// change gives the writer what it has changed and takes it from the others.
func (f *Fields) change(k *kind.Kind, old, o txn.Object, entries []metav1.ManagedFieldsEntry, w Writer) error {
	c, err := f.difference(k, old, o)
	if err != nil {
		return f.updateByLibrary(k, old, o, w)
	}
	c = filtered(c, resets(k, w)[fieldpath.APIVersion(w.Version.String())])
	if c.IsSame() {
		o.SetManagedFields(slices.Clone(entries))
		return nil
	}
	gained := c.Modified.Union(c.Added)
	next, own, err := f.disown(entries, gained.Union(c.Removed), w)
	if err != nil {
		return err
	}
	if next, err = claim(next, own, gained.Difference(serverFields), w); err != nil {
		return err
	}
	if updaters(next) > maxUpdaters {
		return f.updateByLibrary(k, old, o, w)
	}
	slices.SortFunc(next, inOrder)
	o.SetManagedFields(next)
	return nil
}

// usual gives the entries to start from, or false when the library must decide.
func usual(k *kind.Kind, old, o txn.Object, w Writer) ([]metav1.ManagedFieldsEntry, bool) {
	if !typedKind(o) || !sameVersion(k, w.Version) {
		return nil, false
	}
	given := o.GetManagedFields()
	if old == nil {
		return nil, given == nil
	}
	entries := old.GetManagedFields()
	if w.Subresource == "" && given != nil && !sameEntries(given, entries) {
		return nil, false
	}
	for i := range entries {
		e := &entries[i]
		if e.APIVersion != w.Version.String() || e.FieldsType != fieldsV1 || e.FieldsV1 == nil {
			return nil, false
		}
	}
	return entries, true
}

func sameEntries(x, y []metav1.ManagedFieldsEntry) bool {
	return len(x) == len(y) && slices.EqualFunc(x, y, func(a, b metav1.ManagedFieldsEntry) bool {
		if a.FieldsV1 == nil || b.FieldsV1 == nil || !bytes.Equal(a.FieldsV1.Raw, b.FieldsV1.Raw) || !a.Time.Equal(b.Time) {
			return false
		}
		a.FieldsV1, b.FieldsV1, a.Time, b.Time = nil, nil, nil, nil
		return reflect.DeepEqual(a, b)
	})
}

// isOwn tells whether an entry is of the writer's own updates.
func isOwn(e *metav1.ManagedFieldsEntry, w Writer) bool {
	return e.Operation == metav1.ManagedFieldsOperationUpdate && e.Manager == w.manager() && e.Subresource == w.Subresource
}

// disown takes the touched fields away from everybody. It gives the other
// managers' entries and what is left of the writer's own set.
func (f *Fields) disown(entries []metav1.ManagedFieldsEntry, touched *fieldpath.Set, w Writer) (others []metav1.ManagedFieldsEntry, own *ownSet, err error) {
	others = make([]metav1.ManagedFieldsEntry, 0, len(entries)+1)
	for i := range entries {
		e := entries[i]
		set, err := f.sets.decode(e.FieldsV1.Raw)
		if err != nil {
			return nil, nil, fmt.Errorf("decode fields of %q: %w", e.Manager, err)
		}
		if !set.Intersection(touched).Empty() {
			set = set.Difference(touched)
			if set.Empty() {
				continue
			}
			if !isOwn(&e, w) {
				if e.FieldsV1, err = encode(set); err != nil {
					return nil, nil, err
				}
			}
		}
		if isOwn(&e, w) {
			own = &ownSet{entry: e, set: set}
			continue
		}
		others = append(others, e)
	}
	return others, own, nil
}

// ownSet is what is left of the writer's own entry.
type ownSet struct {
	entry metav1.ManagedFieldsEntry
	set   *fieldpath.Set
}

// claim gives the writer what it has set.
func claim(entries []metav1.ManagedFieldsEntry, own *ownSet, gained *fieldpath.Set, w Writer) ([]metav1.ManagedFieldsEntry, error) {
	e := newEntry(w)
	set := gained
	if own != nil {
		e, set = own.entry, own.set.Union(gained)
	}
	if set.Empty() {
		return entries, nil
	}
	if !gained.Empty() {
		e.Time = stampOf(w)
	}
	var err error
	if e.FieldsV1, err = encode(set); err != nil {
		return nil, err
	}
	return append(entries, e), nil
}

// newEntry is an entry of the writer's that owns nothing yet.
func newEntry(w Writer) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: w.manager(), Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: w.Version.String(),
		FieldsType: fieldsV1, Subresource: w.Subresource,
	}
}

func stampOf(w Writer) *metav1.Time { return &metav1.Time{Time: w.Now.UTC().Truncate(time.Second)} }

func encode(set *fieldpath.Set) (*metav1.FieldsV1, error) {
	raw, err := set.ToJSON()
	if err != nil {
		return nil, fmt.Errorf("encode fields: %w", err)
	}
	return &metav1.FieldsV1{Raw: raw}, nil
}

func updaters(entries []metav1.ManagedFieldsEntry) int {
	n := 0
	for i := range entries {
		if entries[i].Operation == metav1.ManagedFieldsOperationUpdate {
			n++
		}
	}
	return n
}
