package gitsource

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render/helm"
)

// lookup is what charts see of a View, as somebody; nil: as the engine.
func (s *source) lookup(view txn.View, as *txn.Identity, seen *looking) helm.Lookup {
	return lookup{view: view, note: seen.note, mapper: s.engine.cfg.Mapper, may: func(ref txn.Ref) error {
		switch readable := s.engine.cfg.Readable; {
		case as == nil:
			return nil
		case readable == nil:
			return errors.New("nobody can tell what the account may read")
		default:
			return readable(view, *as, ref)
		}
	}}.find
}

// lookup reads objects of one View for charts.
type lookup struct {
	view   txn.View
	mapper plan.Mapper
	// may tells whether an object, or without a name all of a resource in a
	// namespace, may be read.
	may func(txn.Ref) error
	// note is told what is looked up, whether it is there or not.
	note func(txn.Ref)
}

// find gives an object, or with an empty name the list of all objects of a
// kind in a namespace. What does not exist, kinds included, is an empty map.
func (l lookup) find(apiVersion, kind, namespace, name string) (map[string]any, error) {
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	m, err := l.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		l.note(txn.Ref{Resource: definitions}) // it may be defined later
		return map[string]any{}, nil
	}
	resource := m.Resource.GroupResource()
	l.note(txn.Ref{Resource: resource, Namespace: namespace, Name: name})
	if err := l.may(txn.Ref{Resource: resource, Namespace: namespace, Name: name}); err != nil {
		return nil, err
	}
	if name != "" {
		o, ok := l.view.Get(txn.Ref{Resource: resource, Namespace: namespace, Name: name})
		if !ok {
			return map[string]any{}, nil
		}
		return content(o, gvk)
	}
	items := []any{}
	for o := range l.view.Each(resource, namespace) {
		item, err := content(o, gvk)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "items": items}, nil
}

// content is a copy of an object in JSON's shape.
func content(o txn.Object, gvk schema.GroupVersionKind) (map[string]any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return runtime.DeepCopyJSON(u.Object), nil
	}
	out, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("look up %s %s: %w", gvk.Kind, o.GetName(), err)
	}
	out["apiVersion"], out["kind"] = gvk.GroupVersion().String(), gvk.Kind
	return out, nil
}
