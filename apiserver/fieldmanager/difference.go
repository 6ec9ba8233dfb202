package fieldmanager

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// difference compares two typed objects of a kind. Most of an object does not
// change in most writes, and the schema's comparison costs a lot for every
// field it looks at, changed or not. So what is equal in both is blanked in
// shallow copies of both first; the schema decides about what is left.
//
// Blanking cannot change the answer: only fields of structs are blanked, in
// both copies, and never below something that would itself vanish from the
// encoding when it becomes empty.
func (f *Fields) difference(k *kind.Kind, old, o txn.Object) (*typed.Comparison, error) {
	shape, err := f.shapeOf(k)
	if err != nil {
		return nil, err
	}
	after := shallow(o)
	if old == nil {
		return shape.typed(shape.empty).Compare(shape.typed(after.Interface()))
	}
	before := shallow(old)
	blank(before.Elem(), after.Elem())
	return shape.typed(before.Interface()).Compare(shape.typed(after.Interface()))
}

// shallow copies an object as deep as its fields, without managedFields.
func shallow(o txn.Object) reflect.Value {
	v := reflect.ValueOf(o)
	c := reflect.New(v.Type().Elem())
	c.Elem().Set(v.Elem())
	c.Interface().(txn.Object).SetManagedFields(nil)
	return c
}

// shape is what the schema needs to know about a kind.
type shape struct {
	schema *typed.TypedValue
	empty  any
}

// typed does not validate: the value is of a Go type of the kind.
func (s *shape) typed(o any) *typed.TypedValue {
	v, err := value.NewValueReflect(o)
	if err != nil {
		panic(fmt.Sprintf("a %T is no object: %v", o, err)) // only for what is no pointer
	}
	return typed.AsTypedUnvalidated(v, s.schema.Schema(), s.schema.TypeRef())
}

func (f *Fields) shapeOf(k *kind.Kind) (*shape, error) {
	if s, ok := f.shapes.Load(k.GVK); ok {
		return s.(*shape), nil
	}
	empty := k.New()
	empty.GetObjectKind().SetGroupVersionKind(k.GVK)
	t, err := f.converter().ObjectToTyped(empty, typed.AllowDuplicates)
	if err != nil {
		return nil, fmt.Errorf("find schema of %s: %w", k.GVK, err)
	}
	s := &shape{schema: t, empty: empty}
	f.shapes.Store(k.GVK, s)
	return s, nil
}

// blank zeroes, in two structs of one type, the fields that are equal.
func blank(x, y reflect.Value) {
	for _, f := range layoutOf(x.Type()) {
		fx, fy := x.Field(f.index), y.Field(f.index)
		if reflect.DeepEqual(fx.Addr().Interface(), fy.Addr().Interface()) {
			fx.SetZero()
			fy.SetZero()
			continue
		}
		switch f.descend {
		case intoStruct:
			blank(fx, fy)
		case intoPointer:
			if fx.IsNil() || fy.IsNil() {
				continue
			}
			blank(private(fx), private(fy))
		}
	}
}

// private replaces a pointer by one to a copy, and gives the copy.
func private(pointer reflect.Value) reflect.Value {
	c := reflect.New(pointer.Type().Elem())
	c.Elem().Set(pointer.Elem())
	pointer.Set(c)
	return c.Elem()
}

type descent int8

const (
	whole descent = iota
	intoStruct
	intoPointer
)

type fieldLayout struct {
	index   int
	descend descent
}

var layouts sync.Map // reflect.Type → []fieldLayout: facts about types, never changed

func layoutOf(t reflect.Type) []fieldLayout {
	if l, ok := layouts.Load(t); ok {
		return l.([]fieldLayout)
	}
	var layout []fieldLayout
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		l := fieldLayout{index: i}
		switch {
		case strings.Contains(f.Tag.Get("json"), ",omitzero"):
		case f.Type.Kind() == reflect.Struct && plain(f.Type):
			l.descend = intoStruct
		case f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct && plain(f.Type.Elem()):
			l.descend = intoPointer
		}
		layout = append(layout, l)
	}
	layouts.Store(t, layout)
	return layout
}

var (
	marshaler = reflect.TypeFor[json.Marshaler]()
	converter = reflect.TypeFor[interface{ ToUnstructured() any }]()
)

// plain tells whether a struct is encoded field by field.
func plain(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	if p.Implements(marshaler) || p.Implements(converter) {
		return false
	}
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			return false
		}
	}
	return true
}

// filtered leaves out what a write through this path does not change.
func filtered(c *typed.Comparison, filter fieldpath.Filter) *typed.Comparison {
	if filter == nil {
		return c
	}
	return c.FilterFields(filter)
}

// typedKind tells whether objects of the kind have a Go type of their own.
func typedKind(o runtime.Object) bool {
	_, custom := o.(runtime.Unstructured)
	return !custom
}

// sameVersion tells whether a write is in the kind's storage version.
func sameVersion(k *kind.Kind, v schema.GroupVersion) bool { return k.GVK.GroupVersion() == v }
