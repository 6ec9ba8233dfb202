package rest

import (
	"bytes"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// cborMagic is the tag that says of a document that it is CBOR (RFC 8949,
// section 3.4.6); clients recognize bodies by it.
var cborMagic = []byte{0xd9, 0xd9, 0xf7}

// cborOf turns an object in JSON into CBOR. Both have the same shape: byte
// slices are base64 in both. Few clients ask for it, so nothing is kept.
func cborOf(b []byte) ([]byte, error) {
	var o map[string]any
	if err := utiljson.Unmarshal(b, &o); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	encoded, err := direct.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode as CBOR: %w", err)
	}
	return append(bytes.Clone(cborMagic), encoded...), nil
}

// cborFrame appends a watch event in CBOR, given as JSON. Such a stream is a
// sequence of documents (RFC 8742), which tell where they end.
func cborFrame(dst, frame []byte) ([]byte, error) {
	b, err := cborOf(frame)
	return append(dst, b...), err
}
