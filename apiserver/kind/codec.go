package kind

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// The storage encoding is Kubernetes': "k8s\0", then a protobuf message
// runtime.Unknown whose raw field is the object in protobuf.
//
//	6b 38 73 00 | 0a len TypeMeta{1: apiVersion, 2: kind} | 12 len object | 1a 00 | 22 00
//
// The type is in the envelope only; two empty fields (content encoding and
// type) close it. Custom resources are plain JSON.

var envelopeMagic = []byte("k8s\x00")

const (
	tagTypeMeta = 0x0a
	tagRaw      = 0x12
	tagVersion  = 0x0a
	tagKind     = 0x12
)

var envelopeTail = []byte{0x1a, 0x00, 0x22, 0x00}

// message is what the generated API types can do.
type message interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
}

// Encode gives the bytes to store. They never contain a resourceVersion, which
// is the key's revision; o may be shared and is not changed.
func (k *Kind) Encode(o txn.Object) ([]byte, error) {
	if o.GetResourceVersion() != "" {
		o = withoutVersion(o)
	}
	m, ok := o.(message)
	if !ok {
		b, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encode %s %q: %w", k.GVK.Kind, o.GetName(), err)
		}
		return b, nil
	}
	version := k.GVK.GroupVersion().String()
	typeSize := 2 + uvarintSize(len(version)) + len(version) + uvarintSize(len(k.GVK.Kind)) + len(k.GVK.Kind)
	size := m.Size()
	b := make([]byte, 0, len(envelopeMagic)+2+uvarintSize(typeSize)+typeSize+uvarintSize(size)+size+len(envelopeTail))
	b = append(b, envelopeMagic...)
	b = appendUvarint(append(b, tagTypeMeta), typeSize)
	b = append(appendUvarint(append(b, tagVersion), len(version)), version...)
	b = append(appendUvarint(append(b, tagKind), len(k.GVK.Kind)), k.GVK.Kind...)
	b = appendUvarint(append(b, tagRaw), size)
	start := len(b)
	b = b[:start+size]
	if n, err := m.MarshalToSizedBuffer(b[start:]); err != nil {
		return nil, fmt.Errorf("encode %s %q: %w", k.GVK.Kind, o.GetName(), err)
	} else if n != size {
		return nil, fmt.Errorf("encode %s %q: object changed while it was encoded", k.GVK.Kind, o.GetName())
	}
	return append(b, envelopeTail...), nil
}

// Decode reads stored bytes, protobuf or JSON, in any version of the kind, into
// a new object of the storage version with its type and defaults filled in:
// what an older version stored may lack some. It keeps no part of value.
func (k *Kind) Decode(value []byte) (txn.Object, error) {
	o, err := k.decode(value)
	if err != nil {
		return o, err
	}
	if k.Default != nil {
		k.Default(o)
	}
	if _, custom := o.(*unstructured.Unstructured); !custom {
		shareFields(o)
	}
	return o, nil
}

func (k *Kind) decode(value []byte) (txn.Object, error) {
	if !bytes.HasPrefix(value, envelopeMagic) {
		return k.decodeJSON(value)
	}
	version, kind, raw, err := openEnvelope(value[len(envelopeMagic):])
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", k.GVK.Kind, err)
	}
	row, err := k.storedAs(schema.FromAPIVersionAndKind(string(version), string(kind)))
	if err != nil {
		return nil, err
	}
	o := row.New()
	m, ok := o.(message)
	if !ok {
		return nil, fmt.Errorf("decode %s: stored as protobuf, want JSON", k.GVK.Kind)
	}
	if err := m.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("decode %s: %w", k.GVK.Kind, err)
	}
	o.GetObjectKind().SetGroupVersionKind(row.GVK)
	return row.ToStored(o)
}

func (k *Kind) decodeJSON(value []byte) (txn.Object, error) {
	o := k.New()
	var is metav1.TypeMeta
	if _, custom := o.(*unstructured.Unstructured); !custom {
		if err := json.Unmarshal(value, &is); err != nil {
			return nil, fmt.Errorf("decode %s: %w", k.GVK.Kind, err)
		}
		row, err := k.storedAs(is.GroupVersionKind())
		if err != nil {
			return nil, err
		}
		o = row.New()
	}
	if err := json.Unmarshal(value, o); err != nil {
		return nil, fmt.Errorf("decode %s: %w", k.GVK.Kind, err)
	}
	row, err := k.storedAs(o.GetObjectKind().GroupVersionKind())
	if err != nil {
		return nil, err
	}
	return row.ToStored(o)
}

// storedAs is the row of the version that a value says it is stored in.
func (k *Kind) storedAs(gvk schema.GroupVersionKind) (*Kind, error) {
	row, ok := k.In(gvk.GroupVersion())
	if !ok || gvk.Kind != row.GVK.Kind {
		return nil, fmt.Errorf("decode %s: stored as %s, want %s", k.GVK.Kind, gvk, k.GVK)
	}
	return row, nil
}

// withoutVersion copies the object as deep as its resourceVersion.
func withoutVersion(o txn.Object) txn.Object {
	if u, ok := o.(*unstructured.Unstructured); ok {
		content := maps.Clone(u.Object)
		if metadata, ok := content["metadata"].(map[string]any); ok {
			metadata = maps.Clone(metadata)
			delete(metadata, "resourceVersion")
			content["metadata"] = metadata
		}
		return &unstructured.Unstructured{Object: content}
	}
	v := reflect.ValueOf(o).Elem()
	shallow := reflect.New(v.Type())
	shallow.Elem().Set(v)
	c := shallow.Interface().(txn.Object)
	c.SetResourceVersion("")
	return c
}

var errEnvelope = errors.New("broken storage envelope")

// openEnvelope reads the fields of a runtime.Unknown; the results share b.
func openEnvelope(b []byte) (version, kind, raw []byte, err error) {
	var typeMeta []byte
	for len(b) > 0 {
		tag := b[0]
		var field []byte
		if field, b, err = lengthDelimited(b[1:]); err != nil {
			return nil, nil, nil, err
		}
		switch tag {
		case tagTypeMeta:
			typeMeta = field
		case tagRaw:
			raw = field
		default:
			// Content encoding and type: an encoding that is set is none of ours.
			if len(field) > 0 {
				return nil, nil, nil, fmt.Errorf("%w: unknown content encoding or type %q", errEnvelope, field)
			}
		}
	}
	for len(typeMeta) > 0 {
		tag := typeMeta[0]
		var field []byte
		if field, typeMeta, err = lengthDelimited(typeMeta[1:]); err != nil {
			return nil, nil, nil, err
		}
		switch tag {
		case tagVersion:
			version = field
		case tagKind:
			kind = field
		}
	}
	if raw == nil {
		return nil, nil, nil, errEnvelope
	}
	return version, kind, raw, nil
}

func lengthDelimited(b []byte) (field, rest []byte, err error) {
	var n uint64
	for i := 0; i < len(b) && i < 10; i++ {
		n |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			b = b[i+1:]
			if n > uint64(len(b)) {
				return nil, nil, errEnvelope
			}
			return b[:n], b[n:], nil
		}
	}
	return nil, nil, errEnvelope
}

func uvarintSize(n int) int { return (bits.Len(uint(n)|1) + 6) / 7 }

func appendUvarint(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}
