package fieldmanager

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// maxManager is the longest manager name that is kept.
const maxManager = 128

// Writer is who writes, and through what.
type Writer struct {
	// Manager is the field manager's name.
	Manager string
	// Version is the API version that the request was written in.
	Version schema.GroupVersion
	// Subresource is empty for the object itself.
	Subresource string
	// Now is written down as the time of the change.
	Now time.Time
}

func (w Writer) manager() string {
	switch {
	case w.Manager == "":
		return "unknown"
	case len(w.Manager) > maxManager:
		return w.Manager[:maxManager]
	}
	return w.Manager
}

// Fields keeps managedFields for all kinds. It is safe for concurrent use.
type Fields struct {
	scheme *runtime.Scheme
	// converter reads the schemas of all built-in types on first use, which
	// takes a while and some megabytes.
	converter func() managedfields.TypeConverter
	managers  sync.Map // managerKey → made
	shapes    sync.Map // schema.GroupVersionKind → *shape
	sets      sets
	creations *creations
}

// managerKey is what the library's managers differ by.
type managerKey struct {
	gvk         schema.GroupVersionKind
	subresource string
}

// made is a manager and the shape of the kind that it was made for: a custom
// resource's may change.
type made struct {
	shape   any
	manager *managedfields.FieldManager
}

// New makes a Fields for the types of a scheme.
func New(scheme *runtime.Scheme) *Fields {
	return &Fields{
		scheme:    scheme,
		creations: newCreations(),
		converter: sync.OnceValue(func() managedfields.TypeConverter { return newConverter(scheme) }),
	}
}

func newConverter(scheme *runtime.Scheme) managedfields.TypeConverter {
	return converters{
		known:   applyconfigurations.NewTypeConverter(scheme),
		deduced: managedfields.NewDeducedTypeConverter(),
		scheme:  scheme,
	}
}

// Apply merges a manager's configuration into the live object, nil where there
// is none, and gives the new object with its managedFields. Conflicts with
// other managers are an API status that names them, unless force.
func (f *Fields) Apply(k *kind.Kind, live txn.Object, config *unstructured.Unstructured, w Writer, force bool) (txn.Object, error) {
	m, err := f.library(k, w)
	if err != nil {
		return nil, err
	}
	if live == nil {
		live = k.New()
	}
	live = live.DeepCopyObject().(txn.Object)
	live.GetObjectKind().SetGroupVersionKind(k.GVK)
	before := live.GetManagedFields()
	out, err := m.Apply(live, config, w.manager(), force)
	if err != nil {
		return nil, err
	}
	o := out.(txn.Object)
	stamp(before, o, w, contentEqual(live, o))
	return o, nil
}

// Check tells what of a configuration the schema of its kind does not have, in
// server-side apply's words; nil where there is no schema.
func (f *Fields) Check(k *kind.Kind, config *unstructured.Unstructured) error {
	convert := f.converter()
	if k.Fielding != nil {
		fields, err := k.Fielding()
		if err != nil {
			return err
		}
		convert = fields
	}
	if _, err := convert.ObjectToTyped(config); err != nil {
		return fmt.Errorf("failed to create typed patch object (%s/%s; %s): %w", config.GetNamespace(), config.GetName(), config.GroupVersionKind(), err)
	}
	return nil
}

// contentEqual tells whether two objects differ in their managedFields at most.
func contentEqual(x, y txn.Object) bool {
	x, y = x.DeepCopyObject().(txn.Object), y.DeepCopyObject().(txn.Object)
	x.SetManagedFields(nil)
	y.SetManagedFields(nil)
	y.GetObjectKind().SetGroupVersionKind(x.GetObjectKind().GroupVersionKind())
	return apiequality.Semantic.DeepEqual(x, y)
}

func (f *Fields) updateByLibrary(k *kind.Kind, old, o txn.Object, w Writer) error {
	m, err := f.library(k, w)
	if err != nil {
		return err
	}
	live := k.New()
	var before []metav1.ManagedFieldsEntry
	if old != nil {
		live = old.DeepCopyObject().(txn.Object)
		before = old.GetManagedFields()
	}
	live.GetObjectKind().SetGroupVersionKind(k.GVK)
	if old == nil {
		// A creation is told by the absence of a UID.
		live.SetUID("")
	}
	kept := o.GetObjectKind().GroupVersionKind()
	o.GetObjectKind().SetGroupVersionKind(k.GVK)
	if _, err := m.Update(live, o, w.manager()); err != nil {
		if k.Shape == nil {
			return err
		}
		// A custom resource that does not fit its schema: validation will say
		// so in the words that people expect.
		o.SetManagedFields(before)
	}
	o.GetObjectKind().SetGroupVersionKind(kept)
	stamp(before, o, w, false)
	return nil
}

// stamp replaces the library's reading of the clock by the writer's time, in
// the writer's entries that it wrote anew. An apply that changes nothing is
// written anew too, and keeps its time.
func stamp(before []metav1.ManagedFieldsEntry, o txn.Object, w Writer, unchanged bool) {
	entries := o.GetManagedFields()
	for i := range entries {
		e := &entries[i]
		if e.Manager != w.manager() || e.Subresource != w.Subresource {
			continue
		}
		kept := slices.IndexFunc(before, func(b metav1.ManagedFieldsEntry) bool {
			return sameOwner(b, *e) && (e.Time.Equal(b.Time) || unchanged && sameFields(b, *e))
		})
		if kept >= 0 {
			e.Time = before[kept].Time
		} else {
			e.Time = &metav1.Time{Time: w.Now.UTC().Truncate(time.Second)}
		}
	}
	slices.SortFunc(entries, inOrder)
	o.SetManagedFields(entries)
}

func sameOwner(x, y metav1.ManagedFieldsEntry) bool {
	return x.Manager == y.Manager && x.Operation == y.Operation && x.APIVersion == y.APIVersion && x.Subresource == y.Subresource
}

func sameFields(x, y metav1.ManagedFieldsEntry) bool {
	return x.FieldsV1 != nil && y.FieldsV1 != nil && bytes.Equal(x.FieldsV1.Raw, y.FieldsV1.Raw)
}

// inOrder is the order of managedFields: appliers first, then by time, then by
// name.
func inOrder(x, y metav1.ManagedFieldsEntry) int {
	return cmp.Or(
		strings.Compare(string(x.Operation), string(y.Operation)), cmp.Compare(unix(x.Time), unix(y.Time)),
		strings.Compare(x.Manager, y.Manager), strings.Compare(x.APIVersion, y.APIVersion), strings.Compare(x.Subresource, y.Subresource),
	)
}

func unix(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// Types is what knows how the lists and maps of a kind are merged.
func (f *Fields) Types(k *kind.Kind) (managedfields.TypeConverter, error) {
	if k.Fielding != nil {
		return k.Fielding()
	}
	return f.converter(), nil
}

func (f *Fields) library(k *kind.Kind, w Writer) (*managedfields.FieldManager, error) {
	row, ok := k.In(w.Version)
	if !ok {
		return nil, fmt.Errorf("%s has no version %s", k.GVK.Kind, w.Version)
	}
	gvk := row.GVK
	key := managerKey{gvk, w.Subresource}
	if m, ok := f.managers.Load(key); ok && m.(made).shape == k.Shape {
		return m.(made).manager, nil
	}
	create, converter := managedfields.NewDefaultFieldManager, f.converter
	if k.Fielding != nil {
		fields, err := k.Fielding()
		if err != nil {
			return nil, err
		}
		create, converter = managedfields.NewDefaultCRDFieldManager, func() managedfields.TypeConverter { return fields }
	}
	m, err := create(converter(), versions{kind: k}, defaulter{k}, creator{k, f.scheme},
		gvk, k.GVK.GroupVersion(), w.Subresource, resets(k, w))
	if err != nil {
		return nil, fmt.Errorf("make field manager of %s: %w", gvk, err)
	}
	f.managers.Store(key, made{k.Shape, m})
	return m, nil
}

// resets are the fields that a write through a path does not change, whatever
// it carries: its writer does not own them.
func resets(k *kind.Kind, w Writer) map[fieldpath.APIVersion]fieldpath.Filter {
	version := fieldpath.APIVersion(w.Version.String())
	status, hasStatus := k.Subresources["status"]
	set := fieldpath.NewSet()
	switch {
	case w.Subresource == "" && hasStatus:
		set.Insert(fieldpath.MakePathOrDie("status"))
	case w.Subresource == "status":
		set.Insert(fieldpath.MakePathOrDie("spec"))
		for _, path := range status.Resets {
			set.Insert(pathOf(path))
		}
	default:
		return nil
	}
	return map[fieldpath.APIVersion]fieldpath.Filter{version: fieldpath.NewExcludeSetFilter(set)}
}

// pathOf reads the names of fields with dots between them.
func pathOf(dotted string) fieldpath.Path {
	var path fieldpath.Path
	for name := range strings.SplitSeq(dotted, ".") {
		path = append(path, fieldpath.PathElement{FieldName: &name})
	}
	return path
}

// defaulter and creator let the library use the kind's own functions.
type defaulter struct{ kind *kind.Kind }

func (d defaulter) Default(o runtime.Object) {
	// What is of another version is defaulted when it has been converted.
	if object, ok := o.(txn.Object); ok && d.kind.Default != nil && o.GetObjectKind().GroupVersionKind() == d.kind.GVK {
		d.kind.Default(object)
	}
}

type creator struct {
	kind   *kind.Kind
	scheme *runtime.Scheme
}

func (c creator) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if row, ok := c.kind.In(gvk.GroupVersion()); ok && gvk.Kind == row.GVK.Kind {
		o := row.New()
		o.GetObjectKind().SetGroupVersionKind(gvk)
		return o, nil
	}
	return c.scheme.New(gvk)
}

// Warm reads the schemas now, which takes some 150 ms of one processor, so that
// the first write need not. It may run beside everything else.
func (f *Fields) Warm() { f.converter() }
