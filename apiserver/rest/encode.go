package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// The forms that an entry keeps. Both are bare: without kind and apiVersion,
// which a list's items do not have and everything else puts in front.
const (
	formJSON store.Format = iota
	formProtobuf
	forms // how many there are of each version
)

// protobufMagic begins every stored or sent protobuf object.
var protobufMagic = []byte("k8s\x00")

// protobufMarshaler is what generated API types have.
type protobufMarshaler interface{ Marshal() ([]byte, error) }

// bareJSON encodes an object without its kind and apiVersion.
//
// A custom resource keeps them, in front of everything else: they are members
// of lists too.
func bareJSON(o any) ([]byte, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return customJSON(u)
	}
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode as JSON: %w", err)
	}
	return stripType(b), nil
}

func customJSON(u *unstructured.Unstructured) ([]byte, error) {
	content := maps.Clone(u.Object)
	delete(content, "apiVersion")
	delete(content, "kind")
	rest, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode as JSON: %w", err)
	}
	b := strconv.AppendQuote([]byte(`{"apiVersion":`), u.GetAPIVersion())
	b = strconv.AppendQuote(append(b, `,"kind":`...), u.GetKind())
	if len(content) > 0 {
		b = append(b, ',')
	}
	return append(b, rest[1:]...), nil
}

// stripType drops kind and apiVersion, when they are the first two members as
// generated types have them.
func stripType(b []byte) []byte {
	rest, ok := bytes.CutPrefix(b, []byte(`{"kind":"`))
	if !ok {
		return b
	}
	_, rest, ok = bytes.Cut(rest, []byte(`","apiVersion":"`))
	if !ok {
		return b
	}
	_, rest, ok = bytes.Cut(rest, []byte{'"'})
	if !ok {
		return b
	}
	rest = bytes.TrimPrefix(rest, []byte{','})
	return append([]byte{'{'}, rest...)
}

// appendTyped appends a bare form with kind and apiVersion put in front.
func appendTyped(dst []byte, gvk schema.GroupVersionKind, bare []byte) []byte {
	dst, rest := appendType(dst, gvk, bare)
	return append(dst, rest...)
}

// appendType begins a bare form with kind and apiVersion; rest is what is left
// of it to append.
func appendType(dst []byte, gvk schema.GroupVersionKind, bare []byte) (begun, rest []byte) {
	if bytes.HasPrefix(bare, []byte(`{"apiVersion":`)) || bytes.HasPrefix(bare, []byte(`{"kind":`)) {
		return dst, bare // a custom resource keeps its own
	}
	dst = append(dst, `{"kind":`...)
	dst = strconv.AppendQuote(dst, gvk.Kind)
	dst = append(dst, `,"apiVersion":`...)
	dst = strconv.AppendQuote(dst, gvk.GroupVersion().String())
	if len(bare) > 2 {
		dst = append(dst, ',')
	}
	return dst, bare[1:]
}

// bareEntry is an entry's bare form in the row's version, encoded once for
// everybody.
func bareEntry(k *kind.Kind, e *store.Entry, form store.Format) ([]byte, error) {
	kept := form + store.Format(k.Number())*forms
	return e.Encoded(kept, func(e *store.Entry) ([]byte, error) {
		o, err := k.FromStored(e.Object)
		if err != nil {
			return nil, err
		}
		if form == formProtobuf {
			return bareProtobuf(o)
		}
		return bareJSON(o)
	})
}

func bareProtobuf(o any) ([]byte, error) {
	m, ok := o.(protobufMarshaler)
	if !ok {
		return nil, notAcceptable(false)
	}
	b, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode as protobuf: %w", err)
	}
	return b, nil
}

// hasProtobuf tells whether a type has a protobuf form.
func hasProtobuf(o any) bool {
	_, ok := o.(protobufMarshaler)
	return ok
}

// appendVarint, appendBytesField write protobuf's wire format.
func appendVarint(dst []byte, v uint64) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varintSize(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// appendField appends the tag and length of a length-delimited field.
func appendField(dst []byte, number int, length int) []byte {
	dst = append(dst, byte(number<<3|2))
	return appendVarint(dst, uint64(length))
}

func fieldSize(length int) int { return 1 + varintSize(uint64(length)) + length }

// appendEnvelope appends what stands before a protobuf object's raw bytes, and
// says how long those will be: the magic and runtime.Unknown's first fields.
func appendEnvelope(dst []byte, gvk schema.GroupVersionKind, rawLength int) []byte {
	dst = append(dst, protobufMagic...)
	dst = appendField(dst, 1, fieldSize(versionSize(gvk))+fieldSize(len(gvk.Kind)))
	dst = appendField(dst, 1, versionSize(gvk))
	if gvk.Group != "" {
		dst = append(append(dst, gvk.Group...), '/')
	}
	dst = append(dst, gvk.Version...)
	dst = append(appendField(dst, 2, len(gvk.Kind)), gvk.Kind...)
	return appendField(dst, 2, rawLength)
}

// envelopeSize is how much appendEnvelope appends.
func envelopeSize(gvk schema.GroupVersionKind, rawLength int) int {
	return len(protobufMagic) + fieldSize(fieldSize(versionSize(gvk))+fieldSize(len(gvk.Kind))) + fieldSize(rawLength) - rawLength
}

// versionSize is the length of "group/version".
func versionSize(gvk schema.GroupVersionKind) int {
	if gvk.Group == "" {
		return len(gvk.Version)
	}
	return len(gvk.Group) + 1 + len(gvk.Version)
}

// encodeObject encodes one object under a kind.
func encodeObject(a accepted, gvk schema.GroupVersionKind, o runtime.Object) ([]byte, error) {
	if a.media == mediaProtobuf {
		bare, err := bareProtobuf(o)
		if err != nil {
			return nil, err
		}
		return append(appendEnvelope(nil, gvk, len(bare)), bare...), nil
	}
	bare, err := bareJSON(o)
	if err != nil {
		return nil, err
	}
	return dress(a, appendTyped(nil, gvk, bare))
}

// encodeEntry is encodeObject for a shared entry.
func encodeEntry(a accepted, k *kind.Kind, e *store.Entry) ([]byte, error) {
	if a.media == mediaProtobuf {
		bare, err := bareEntry(k, e, formProtobuf)
		if err != nil {
			return nil, err
		}
		b := make([]byte, 0, envelopeSize(k.GVK, len(bare))+len(bare))
		return append(appendEnvelope(b, k.GVK, len(bare)), bare...), nil
	}
	bare, err := bareEntry(k, e, formJSON)
	if err != nil {
		return nil, err
	}
	// Room for the type in front and the newline behind.
	b := make([]byte, 0, len(bare)+versionSize(k.GVK)+len(k.GVK.Kind)+40)
	return dress(a, appendTyped(b, k.GVK, bare))
}

// dress turns compact JSON into what the client wants.
func dress(a accepted, b []byte) ([]byte, error) {
	switch {
	case a.media == mediaCBOR:
		return cborOf(b)
	case a.media == mediaYAML:
		y, err := yaml.JSONToYAML(b)
		if err != nil {
			return nil, fmt.Errorf("encode as YAML: %w", err)
		}
		return y, nil
	case a.pretty:
		var out bytes.Buffer
		if err := json.Indent(&out, b, "", "  "); err != nil {
			return nil, fmt.Errorf("indent: %w", err)
		}
		return out.Bytes(), nil
	}
	return append(b, '\n'), nil
}

// answerObject writes one object as the whole answer.
func (h *Handler) answerObject(w http.ResponseWriter, r *http.Request, code int, a accepted, gvk schema.GroupVersionKind, o runtime.Object) {
	b, err := encodeObject(a, gvk, o)
	if err != nil {
		if _, isStatus := o.(*metav1.Status); isStatus {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h.fail(w, r, err)
		return
	}
	auditOf(w).answered(plain(a, b), func() ([]byte, error) { return JSONOf(gvk, o) })
	h.answerBytes(w, r, code, a.media, b)
}

// plain is an answer's own bytes when they are JSON, else nil.
func plain(a accepted, parts ...[]byte) [][]byte {
	if a.media != mediaJSON {
		return nil
	}
	return parts
}
