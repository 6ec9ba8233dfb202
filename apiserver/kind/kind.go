// Package kind is the table that every API kind is a row of: what a kind is
// called, how it is stored, defaulted, validated, changed, selected and shown.
// Everything that serves objects (REST, write path, discovery, tables) reads
// the table and knows no kind by name.
package kind

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
)

// Kind is one row. Function fields may be nil: nothing is to be done then.
// None of the functions may keep or change a shared object; those that get one
// to change say so.
type Kind struct {
	// GVK is the row's version, external types: {apps v1 Deployment}.
	GVK schema.GroupVersionKind
	// Versions are the rows of further versions, in the storage version's row;
	// Serve and Add put them there.
	Versions []*Kind
	// Hidden versions are not served; objects may be stored in them.
	Hidden bool
	// Deprecated warns everybody who uses the row's version; may be empty.
	Deprecated string
	// Shape is set in the rows of custom resources: stored objects are read
	// alike by rows with equal shapes.
	Shape any
	// Plural, Singular and ShortNames are the resource's names.
	Plural   string
	Singular string
	// ListKind is the kind of lists; empty: the kind's with "List" behind it.
	ListKind   string
	ShortNames []string
	// Categories such as "all".
	Categories []string
	Namespaced bool
	// StoragePrefix is the key below /registry/, without slashes at its ends:
	// "deployments", "minions", "services/specs".
	StoragePrefix string
	// Verbs that discovery lists; nil means all of them
	// (create delete deletecollection get list patch update watch).
	Verbs []string

	// New and NewList make empty objects of the storage version.
	New     func() txn.Object
	NewList func() runtime.Object

	// Computed gives the objects of a namespace, or of all ("") and then in the
	// order of their namespaces and names, of a kind that is made when it is read
	// and never stored; nil: the kind is stored. It may take a while, within ctx.
	Computed func(ctx context.Context, view txn.View, namespace string) ([]txn.Object, error)

	// Name tells what is wrong with a name; prefix: with a generateName. Nil
	// means that names are DNS subdomains.
	Name func(name string, prefix bool) []string
	// PlainFinalizers lets finalizers have names without a domain, as kinds do
	// that are younger than that rule.
	PlainFinalizers bool

	// Accept brings what a writer has sent into the kind's shape, before
	// anything else sees it, and names the fields that the kind does not have
	// and that are dropped. It changes o. Nil for kinds with a Go type, where
	// decoding does that.
	Accept func(o txn.Object) (unknown []string, err error)
	// Default fills in what the API reference says is defaulted. It changes o.
	Default func(o txn.Object)

	// Prepare brings a write into shape before it is validated: it drops what
	// this path may not set (status on the main resource and so on), sets what
	// the server decides, and raises metadata.generation. old is nil on create
	// and shared; o is changed and may share parts with old afterwards. On
	// create the UID is set already.
	Prepare func(o, old txn.Object)
	// Validate checks a whole object, and against old (nil on create) what may
	// not change. ValidateMeta is called before it.
	Validate func(o, old txn.Object) field.ErrorList
	// Warnings tells the writer what is allowed but probably wrong.
	Warnings func(o, old txn.Object) []string

	// Delete decides about graceful deletion. Nil: objects go at once. It is
	// not asked again about an object that has a deletionTimestamp, but to
	// shorten the grace.
	Delete func(o txn.Object, options *metav1.DeleteOptions, now time.Time) Deletion
	// Held tells that an object that is being deleted stays, although it has no
	// metadata.finalizers left (namespaces have finalizers in their spec). Nil:
	// nothing holds it.
	Held func(o txn.Object) bool

	// Subresources by name: "status", "scale", ...
	Subresources map[string]Subresource

	// Fields are the values that field selectors can ask for besides
	// metadata.name and metadata.namespace.
	Fields map[string]func(o txn.Object) string
	// Indexes are kept by the store: the values under which o is found.
	Indexes map[string]func(o txn.Object) []string

	// Columns and Row are kubectl's table: Row gives the cells for all of
	// Columns. One column has the format "name"; it is the first one, but for
	// kinds whose people look for something else (events). Age cells are made
	// with Age.
	Columns []metav1.TableColumnDefinition
	Row     func(o txn.Object, now time.Time) []any

	// Fielding gives what server-side apply has to know about the fields of a
	// kind without a Go type; nil for those that have one.
	Fielding func() (managedfields.TypeConverter, error)
	// Described is the OpenAPI v3 schema, in JSON, of a kind without a Go type.
	Described func() ([]byte, error)

	// stored, from, to and number are set in the rows of further versions.
	stored   *Kind
	from, to func(o txn.Object) (txn.Object, error)
	number   int
}

// Deletion is a kind's decision about a DELETE.
type Deletion struct {
	// Graceful keeps the object with deletionTimestamp and the grace period
	// until somebody deletes it with grace 0 (pods bound to a node).
	Graceful bool
	// GracePeriodSeconds is what to write down when Graceful.
	GracePeriodSeconds int64
	// Changed is the object to store when the deletion begins with a change of
	// the object itself, such as a Namespace's phase; nil otherwise.
	Changed txn.Object
}

// Subresource is one path below an object.
type Subresource struct {
	// GVK is what the subresource reads and writes; empty means the kind's.
	GVK schema.GroupVersionKind
	// Verbs that discovery lists: get, patch, update, create.
	Verbs []string

	// Prepare and Validate replace the kind's for a write through an updating
	// subresource such as status: Prepare takes everything but the
	// subresource's own fields from old.
	Prepare  func(o, old txn.Object)
	Validate func(o, old txn.Object) field.ErrorList
	// Resets are what Prepare takes from old besides the spec, as
	// "metadata.labels": who writes through the subresource does not own it.
	Resets []string

	// Get turns the stored object into the subresource's own kind (Scale), and
	// Set folds a written one into a deep copy of the stored object; its errors
	// are API status errors. What Set gives is then prepared and validated by
	// the subresource's functions, or by the kind's where it has none. A
	// creating subresource (Binding) has only Set.
	Get func(o txn.Object) (txn.Object, error)
	Set func(o, parameter txn.Object, now time.Time) (txn.Object, error)
	// Replicas is where the stored object has what a Scale has in spec.replicas;
	// empty for what is no scale.
	Replicas []string

	// Connect marks subresources that are streams or foreign requests (log,
	// exec, proxy, token): the REST room serves them by name.
	Connect bool
}

// Resource is what the kind's objects are found under in a View, whatever
// version they are read in: the storage version's group, and the plural.
func (k *Kind) Resource() schema.GroupResource {
	return schema.GroupResource{Group: k.Stored().GVK.Group, Resource: k.Plural}
}

// Served is the resource as clients name it in the row's version.
func (k *Kind) Served() schema.GroupResource {
	return schema.GroupResource{Group: k.GVK.Group, Resource: k.Plural}
}

// GVR is the row's version and plural.
func (k *Kind) GVR() schema.GroupVersionResource {
	return k.GVK.GroupVersion().WithResource(k.Plural)
}

// ListGVK is what lists of the row's version are.
func (k *Kind) ListGVK() schema.GroupVersionKind {
	if k.ListKind != "" {
		return k.GVK.GroupVersion().WithKind(k.ListKind)
	}
	return k.GVK.GroupVersion().WithKind(k.GVK.Kind + "List")
}

// Ref names an object of the kind.
func (k *Kind) Ref(namespace, name string) txn.Ref {
	return txn.Ref{Resource: k.Resource(), Namespace: namespace, Name: name}
}
