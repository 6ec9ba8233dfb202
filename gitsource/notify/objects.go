package notify

import (
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// MaxObjects is how many objects a message names.
const MaxObjects = 20

// Object is one that a message is about.
type Object struct {
	// Kind is empty where only the resource is known.
	Kind      string `json:"kind,omitempty"`
	Group     string `json:"group,omitempty"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// ObjectOf is the one of a reference.
func ObjectOf(ref txn.Ref, kind string) Object {
	return Object{Kind: kind, Group: ref.Resource.Group, Resource: ref.Resource.Resource, Namespace: ref.Namespace, Name: ref.Name}
}

// ParseObject reads what txn.Ref.String has written, as problems and outcomes
// have it. False: it is no object.
func ParseObject(s string) (txn.Ref, bool) {
	resource, name, ok := strings.Cut(s, " ")
	if !ok || resource == "" || name == "" {
		return txn.Ref{}, false
	}
	ref := txn.Ref{Resource: schema.ParseGroupResource(resource), Name: name}
	if namespace, name, ok := strings.Cut(name, "/"); ok {
		ref.Namespace, ref.Name = namespace, name
	}
	return ref, true
}

func (o Object) matches(f *v1alpha1.NotificationObjects) bool {
	return (len(f.Kinds) == 0 || slices.ContainsFunc(f.Kinds, o.is)) &&
		(len(f.Namespaces) == 0 || o.Namespace != "" && like(f.Namespaces, o.Namespace)) &&
		(len(f.Names) == 0 || like(f.Names, o.Name))
}

// is tells whether the object is of a kind, as "Deployment" or
// "Deployment.apps".
func (o Object) is(kind string) bool {
	kind, group, named := strings.Cut(kind, ".")
	if named && group != o.Group {
		return false
	}
	if o.Kind != "" {
		return strings.EqualFold(o.Kind, kind)
	}
	plural, _ := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Kind: kind})
	return plural.Resource == o.Resource
}

func like(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, s)
		return ok && err == nil
	})
}

// Narrow gives what a message says to somebody who wants to hear of some objects
// only, and false when it has nothing for him: problems with other objects are
// left out. about are all objects that it is about; nil: it is told to everybody.
func (m Message) Narrow(about []Object, filters []v1alpha1.NotificationObjects) (Message, bool) {
	wanted := func(o Object) bool {
		return slices.ContainsFunc(filters, func(f v1alpha1.NotificationObjects) bool { return o.matches(&f) })
	}
	var objects []Object
	for _, o := range about {
		if len(filters) == 0 || wanted(o) {
			objects = append(objects, o)
		}
	}
	if about != nil && len(filters) > 0 && len(objects) == 0 {
		return m, false
	}
	m.Objects = objects[:min(len(objects), MaxObjects)]
	if len(filters) == 0 {
		return m, true
	}
	m.Problems = slices.DeleteFunc(slices.Clone(m.Problems), func(p v1alpha1.Problem) bool {
		ref, ok := ParseObject(p.Object)
		return ok && !slices.ContainsFunc(objects, func(o Object) bool { return ObjectOf(ref, o.Kind) == o })
	})
	return m, true
}
