package fieldmanager

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// versions lets the library convert objects of a kind between its versions. It
// hands in objects with a Go type, or what it has merged: plain maps.
type versions struct {
	runtime.ObjectConvertor
	kind *kind.Kind
}

// ConvertToVersion gives in, converted to the target, which is always a group
// and version. A version that the kind does not have (any more) is an error by
// which the library forgets the fields that were written in it.
func (c versions) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	gvk := in.GetObjectKind().GroupVersionKind()
	from, ok := c.kind.In(gvk.GroupVersion())
	if !ok || from.GVK.Kind != gvk.Kind {
		return nil, runtime.NewNotRegisteredErrForKind("managed fields", gvk)
	}
	gv, ok := target.(schema.GroupVersion)
	if !ok {
		return nil, fmt.Errorf("convert %s: the target %v is no version", gvk, target)
	}
	to, ok := c.kind.In(c.hub(gv))
	if !ok {
		return nil, runtime.NewNotRegisteredErrForTarget("managed fields", nil, target)
	}
	o, err := typedAs(in, from)
	if err != nil || from == to {
		return o, err
	}
	if o, err = from.ToStored(o); err != nil {
		return nil, err
	}
	return to.FromStored(o)
}

// hub maps the version that the library takes for the storage version in
// another group of the kind to the real one.
func (c versions) hub(gv schema.GroupVersion) schema.GroupVersion {
	if _, ok := c.kind.In(gv); !ok && gv.Version == c.kind.GVK.Version {
		return c.kind.GVK.GroupVersion()
	}
	return gv
}

// typedAs gives an object as the Go type of a version.
func typedAs(in runtime.Object, k *kind.Kind) (txn.Object, error) {
	out := k.New()
	plain, isPlain := in.(runtime.Unstructured)
	if _, custom := out.(runtime.Unstructured); custom || !isPlain {
		o, ok := in.(txn.Object)
		if !ok {
			return nil, fmt.Errorf("a %T has no metadata", in)
		}
		return o, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(plain.UnstructuredContent(), out); err != nil {
		return nil, fmt.Errorf("convert to %T: %w", out, err)
	}
	out.GetObjectKind().SetGroupVersionKind(k.GVK)
	return out, nil
}
