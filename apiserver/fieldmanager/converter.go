package fieldmanager

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// builtIn is how the schemas name the types of k8s.io/api.
const builtIn = "io.k8s.api."

// converters uses the schemas of the built-in types where there is one, and
// deduces the shape of everything else from the values: lists are atomic then.
type converters struct {
	known, deduced managedfields.TypeConverter
	scheme         *runtime.Scheme
}

var _ managedfields.TypeConverter = converters{}

func (c converters) ObjectToTyped(o runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if c.hasSchema(o.GetObjectKind().GroupVersionKind()) {
		return c.known.ObjectToTyped(o, options...)
	}
	return c.deduced.ObjectToTyped(o, options...)
}

func (c converters) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	return c.known.TypedToObject(value)
}

func (c converters) hasSchema(gvk schema.GroupVersionKind) bool {
	name, err := c.scheme.ToOpenAPIDefinitionName(gvk)
	return err == nil && strings.HasPrefix(name, builtIn)
}
