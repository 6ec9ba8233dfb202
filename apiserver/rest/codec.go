package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// codec decodes request bodies.
type codec struct {
	scheme   *runtime.Scheme
	loose    map[string]runtime.Decoder // by media type
	strict   map[string]runtime.Decoder
	protobuf runtime.Decoder
}

func newCodec(s *runtime.Scheme) *codec {
	make := func(strict, yaml bool) runtime.Decoder {
		return json.NewSerializerWithOptions(json.DefaultMetaFactory, s, s, json.SerializerOptions{Strict: strict, Yaml: yaml})
	}
	return &codec{
		scheme:   s,
		loose:    map[string]runtime.Decoder{mediaJSON: make(false, false), mediaYAML: make(false, true), mediaCBOR: cbor.NewSerializer(s, s)},
		strict:   map[string]runtime.Decoder{mediaJSON: make(true, false), mediaYAML: make(true, true), mediaCBOR: cbor.NewSerializer(s, s, cbor.Strict(true))},
		protobuf: protobuf.NewSerializer(s, s),
	}
}

// decode reads a body as the given kind, into an object of it when there is no
// type for the kind. What strict decoding finds is an error under Strict and a
// warning under Warn.
func (c *codec) decode(body []byte, media string, gvk schema.GroupVersionKind, into runtime.Object, validation string, warn func(string)) (runtime.Object, error) {
	if err := checkBounds(body, media); err != nil {
		return nil, err
	}
	decoder := c.protobuf
	if media != mediaProtobuf {
		decoder = c.loose[media]
		if validation != metav1.FieldValidationIgnore {
			decoder = c.strict[media]
		}
	}
	if into == nil {
		var err error
		if into, err = c.scheme.New(gvk); err != nil {
			return nil, fmt.Errorf("make %s: %w", gvk, err)
		}
	} else if media == mediaProtobuf {
		return nil, unsupportedMedia(mediaJSON, mediaYAML)
	}
	o, got, err := decoder.Decode(body, &gvk, into)
	if err != nil {
		strict, isStrict := runtime.AsStrictDecodingError(err)
		if !isStrict || o == nil || validation != metav1.FieldValidationWarn {
			return nil, undecodable(err, gvk, got, body)
		}
		for _, e := range strict.Errors() {
			warn(e.Error())
		}
	}
	if got != nil && got.GroupVersion() != gvk.GroupVersion() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)",
			got.GroupVersion(), gvk.GroupVersion()))
	}
	if got != nil && got.Kind != gvk.Kind {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: no kind %q is served here",
			got.Kind, got.Version, gvk.Kind, got.Kind))
	}
	return o, nil
}

// undecodable words a decoding error as Kubernetes does.
func undecodable(err error, want schema.GroupVersionKind, got *schema.GroupVersionKind, body []byte) error {
	if got != nil && got.Kind != "" {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", got.Kind, got.Version, want.Kind, err))
	}
	const shown = 30
	begin := string(body[:min(len(body), shown)])
	if len(body) > shown {
		begin += " ..."
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%q)", want.Kind, err, begin))
}

// readBody reads at most the limit.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
	if err == nil {
		return body, nil
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", h.MaxBody))
	case r.Context().Err() != nil:
		return nil, context.Cause(r.Context())
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("read the body: %v", err))
}
