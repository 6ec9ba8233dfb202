package fieldmanager

import (
	"encoding/json"
	"hash/maphash"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// keptOutlines is how many outlines one generation of the memory holds.
const keptOutlines = 512

// creations remembers what the creator of an object owns by the object's
// outline: the pods of a ReplicaSet, the leases of all nodes are created with
// the same fields, and the schema's comparison is the dearest part of a small
// write. Remembered fields are shared and never changed.
type creations struct {
	seed       maphash.Seed
	mu         sync.Mutex // guards both
	young, old map[outline]*metav1.FieldsV1
}

// outline is all of a new object that decides which fields it has.
type outline struct {
	gvk schema.GroupVersionKind
	sum uint64
}

func newCreations() *creations { return &creations{seed: maphash.MakeSeed()} }

// outline gives an object's outline: which fields are set and which keys its
// maps have. The elements of lists count in full, for what tells them apart is
// part of a field's path.
func (c *creations) outline(gvk schema.GroupVersionKind, o txn.Object) outline {
	var h maphash.Hash
	h.SetSeed(c.seed)
	s := sketch{hash: &h}
	s.value(reflect.ValueOf(o).Elem(), false)
	return outline{gvk, h.Sum64()}
}

func (c *creations) get(k outline) *metav1.FieldsV1 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if fields := c.young[k]; fields != nil {
		return fields
	}
	fields := c.old[k]
	if fields != nil {
		c.put(k, fields)
	}
	return fields
}

func (c *creations) add(k outline, fields *metav1.FieldsV1) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(k, fields)
}

// put adds fields; a full generation becomes the old one and the one before it
// is forgotten.
func (c *creations) put(k outline, fields *metav1.FieldsV1) {
	if c.young == nil || len(c.young) >= keptOutlines {
		c.old, c.young = c.young, make(map[outline]*metav1.FieldsV1, 16)
	}
	c.young[k] = fields
}

// sketch hashes outlines.
type sketch struct{ hash *maphash.Hash }

func (s sketch) bit(set bool) {
	b := byte(0)
	if set {
		b = 1
	}
	s.byte(b)
}

func (s sketch) byte(b byte)     { _ = s.hash.WriteByte(b) }      // never fails
func (s sketch) text(t string)   { _, _ = s.hash.WriteString(t) } // never fails
func (s sketch) number(n uint64) { maphash.WriteComparable(s.hash, n) }

// value adds a value; whole says that not only its presence counts.
func (s sketch) value(v reflect.Value, whole bool) {
	switch v.Kind() {
	case reflect.Struct:
		s.fields(v, whole)
	case reflect.Pointer, reflect.Interface:
		if s.bit(!v.IsNil()); !v.IsNil() {
			s.value(v.Elem(), whole)
		}
	case reflect.Map:
		s.entries(v, whole)
	case reflect.Slice, reflect.Array:
		s.bit(v.Kind() == reflect.Slice && v.IsNil())
		s.number(uint64(v.Len()))
		if v.Type().Elem().Kind() == reflect.Uint8 && !whole {
			return
		}
		for i := range v.Len() {
			s.value(v.Index(i), true)
		}
	default:
		if s.bit(v.IsZero()); whole && !v.IsZero() {
			s.scalar(v)
		}
	}
}

func (s sketch) scalar(v reflect.Value) {
	switch {
	case v.Kind() == reflect.String:
		s.number(uint64(v.Len()))
		s.text(v.String())
	case v.CanInt():
		s.number(uint64(v.Int()))
	case v.CanUint():
		s.number(v.Uint())
	default:
		s.encoded(v)
	}
}

// fields adds a struct. One that is not encoded field by field counts as its
// encoding, but for times, of which a new object has many: they are one field.
func (s sketch) fields(v reflect.Value, whole bool) {
	if v.Type() == timeType && !whole {
		s.bit(v.IsZero())
		return
	}
	if !plain(v.Type()) {
		s.encoded(v)
		return
	}
	for _, f := range layoutOf(v.Type()) {
		field := v.Field(f.index)
		if field.IsZero() {
			continue
		}
		s.number(uint64(f.index) + 1)
		s.value(field, whole)
	}
	s.number(0)
}

// entries adds a map, in whatever order it comes.
func (s sketch) entries(v reflect.Value, whole bool) {
	s.bit(v.IsNil())
	s.number(uint64(v.Len()))
	var sum uint64
	for each := v.MapRange(); each.Next(); {
		var h maphash.Hash
		h.SetSeed(s.hash.Seed())
		one := sketch{hash: &h}
		one.value(each.Key(), true)
		one.value(each.Value(), whole)
		sum += h.Sum64()
	}
	s.number(sum)
}

func (s sketch) encoded(v reflect.Value) {
	b, err := json.Marshal(v.Interface())
	if err != nil {
		b = []byte(err.Error()) // the object cannot be stored in any case
	}
	s.number(uint64(len(b)))
	_, _ = s.hash.Write(b) // never fails
}

var timeType = reflect.TypeFor[metav1.Time]()
