package txn

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is an API object: the external type of its storage version for
// built-in kinds, *unstructured.Unstructured for custom resources. It has the
// method set of controller-runtime's client.Object.
type Object interface {
	metav1.Object
	runtime.Object
}

// Ref names one object, whatever API version it is read or written in.
type Ref struct {
	// Resource is the group and plural resource, such as deployments.apps.
	Resource schema.GroupResource
	// Namespace is empty for cluster-scoped objects.
	Namespace string
	Name      string
}

// String gives "deployments.apps shop/web", or without a namespace "nodes n1".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Resource.String() + " " + r.Name
	}
	return r.Resource.String() + " " + r.Namespace + "/" + r.Name
}

// Compare orders references by group, resource, namespace and name.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(strings.Compare(r.Resource.Group, o.Resource.Group), strings.Compare(r.Resource.Resource, o.Resource.Resource),
		strings.Compare(r.Namespace, o.Namespace), strings.Compare(r.Name, o.Name))
}

// View is all objects at one revision, and on top of them the pending changes
// it was made with. It never changes, costs nothing to hold for a while, and
// may be used concurrently. Reading from it is not authorized again: what is
// handed to admission and validators sees everything.
type View interface {
	// Revision is the store's revision that the View shows.
	Revision() int64
	// Get returns the shared object, or false when there is none.
	Get(Ref) (Object, bool)
	// Each yields the shared objects of a resource in the order of namespace
	// and name; an empty namespace means all of them.
	Each(resource schema.GroupResource, namespace string) iter.Seq[Object]
	// EachIndexed yields, in no particular order, the objects of a resource
	// whose index has the value, for an index that the resource's kind
	// declares (such as "spec.nodeName" of pods). An unknown index panics: it
	// is a programming error.
	EachIndexed(resource schema.GroupResource, index, value string) iter.Seq[Object]
}

// Overlay returns base with pending changes on top: a nil object hides what
// base has under that reference. EachIndexed on the result yields pending
// objects only after indexes decides that they belong (nil: a pending object
// never matches an index).
func Overlay(base View, pending map[Ref]Object, indexes func(resource schema.GroupResource, index string, o Object) []string) View {
	if len(pending) == 0 {
		return base
	}
	byResource := map[schema.GroupResource][]Ref{}
	for ref := range pending {
		byResource[ref.Resource] = append(byResource[ref.Resource], ref)
	}
	for _, refs := range byResource {
		slices.SortFunc(refs, Ref.Compare)
	}
	return &overlay{base: base, pending: pending, refs: byResource, indexes: indexes}
}

type overlay struct {
	base    View
	pending map[Ref]Object
	refs    map[schema.GroupResource][]Ref // the keys of pending, sorted
	indexes func(schema.GroupResource, string, Object) []string
}

var _ View = (*overlay)(nil)

func (v *overlay) Revision() int64 { return v.base.Revision() }

func (v *overlay) Get(ref Ref) (Object, bool) {
	if o, ok := v.pending[ref]; ok {
		return o, o != nil
	}
	return v.base.Get(ref)
}

func (v *overlay) Each(resource schema.GroupResource, namespace string) iter.Seq[Object] {
	refs := v.refs[resource]
	if len(refs) == 0 {
		return v.base.Each(resource, namespace)
	}
	return func(yield func(Object) bool) {
		i := 0
		// emit yields the pending objects that sort before limit.
		emit := func(limit *Ref) bool {
			for ; i < len(refs) && (limit == nil || refs[i].Compare(*limit) < 0); i++ {
				o := v.pending[refs[i]]
				if o == nil || (namespace != "" && refs[i].Namespace != namespace) {
					continue
				}
				if !yield(o) {
					return false
				}
			}
			return true
		}
		for o := range v.base.Each(resource, namespace) {
			ref := Ref{Resource: resource, Namespace: o.GetNamespace(), Name: o.GetName()}
			if !emit(&ref) {
				return
			}
			if _, replaced := v.pending[ref]; replaced {
				continue
			}
			if !yield(o) {
				return
			}
		}
		emit(nil)
	}
}

func (v *overlay) EachIndexed(resource schema.GroupResource, index, value string) iter.Seq[Object] {
	refs := v.refs[resource]
	if len(refs) == 0 {
		return v.base.EachIndexed(resource, index, value)
	}
	return func(yield func(Object) bool) {
		for o := range v.base.EachIndexed(resource, index, value) {
			if _, replaced := v.pending[Ref{Resource: resource, Namespace: o.GetNamespace(), Name: o.GetName()}]; replaced {
				continue
			}
			if !yield(o) {
				return
			}
		}
		if v.indexes == nil {
			return
		}
		for _, ref := range refs {
			o := v.pending[ref]
			if o != nil && slices.Contains(v.indexes(resource, index, o), value) && !yield(o) {
				return
			}
		}
	}
}

// Empty is the View of a cluster without any object at revision 0. Overlay on
// it makes a View of given objects only, for checks without a cluster.
type Empty struct{}

var _ View = Empty{}

// Revision is 0.
func (Empty) Revision() int64 { return 0 }

// Get finds nothing.
func (Empty) Get(Ref) (Object, bool) { return nil, false }

// Each yields nothing.
func (Empty) Each(schema.GroupResource, string) iter.Seq[Object] { return func(func(Object) bool) {} }

// EachIndexed yields nothing, whatever the index is called.
func (Empty) EachIndexed(schema.GroupResource, string, string) iter.Seq[Object] {
	return func(func(Object) bool) {}
}
