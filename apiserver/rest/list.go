package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/headway-sh/headway/apiserver/kind"
)

// serveList answers GET on a collection.
func (h *Handler) serveList(w http.ResponseWriter, r *http.Request, c *call) error {
	a, err := negotiate(r, hasProtobuf(c.kind.NewList()))
	if err != nil {
		return err
	}
	options, err := listOptions(r.URL.Query(), false)
	if err != nil {
		return err
	}
	s, err := newSelector(c.kind, c.info.Namespace, "", options.LabelSelector, options.FieldSelector)
	if err != nil {
		return err
	}
	part, err := h.list(r.Context(), s, options)
	if err != nil {
		return err
	}
	switch a.shape {
	case shapeTable:
		return h.answerTable(w, r, a, c.kind, part)
	case shapePartial:
		return h.answerPartialList(w, r, a, c.kind, part)
	}
	return h.answerList(w, r, a, c.kind, part)
}

// answerList writes a list out of the entries' shared forms.
func (h *Handler) answerList(w http.ResponseWriter, r *http.Request, a accepted, k *kind.Kind, part *chunk) error {
	if a.media == mediaProtobuf {
		parts, err := protobufList(k, part)
		if err != nil {
			return err
		}
		auditOf(w).answered(nil, func() ([]byte, error) { return joinedList(k, part) })
		h.answerParts(w, r, http.StatusOK, mediaProtobuf, parts)
		return nil
	}
	parts, err := jsonList(k, part)
	if err != nil {
		return err
	}
	auditOf(w).answered(parts, nil)
	if a.media == mediaYAML || a.media == mediaCBOR || a.pretty {
		b, err := dress(a, bytes.Join(parts, nil))
		if err != nil {
			return err
		}
		parts = [][]byte{b}
	}
	h.answerParts(w, r, http.StatusOK, a.media, parts)
	return nil
}

// jsonList gives the pieces of a JSON list.
func jsonList(k *kind.Kind, part *chunk) ([][]byte, error) {
	meta, err := json.Marshal(part.meta)
	if err != nil {
		return nil, fmt.Errorf("encode list metadata: %w", err)
	}
	head := appendTyped(nil, k.ListGVK(), []byte(`{"metadata":`))
	head = append(append(head, meta...), `,"items":[`...)
	parts := make([][]byte, 0, 2*len(part.entries)+2)
	parts = append(parts, head)
	comma := []byte{','}
	for i, e := range part.entries {
		b, err := bareEntry(k, e, formJSON)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Ref, err)
		}
		if i > 0 {
			parts = append(parts, comma)
		}
		parts = append(parts, b)
	}
	return append(parts, []byte("]}\n")), nil
}

// joinedList is a JSON list in one piece.
func joinedList(k *kind.Kind, part *chunk) ([]byte, error) {
	parts, err := jsonList(k, part)
	return bytes.Join(parts, nil), err
}

// protobufList gives the pieces of a protobuf list. Every list type of the API
// has its metadata in field 1 and its items in field 2.
func protobufList(k *kind.Kind, part *chunk) ([][]byte, error) {
	meta, err := part.meta.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode list metadata: %w", err)
	}
	length := fieldSize(len(meta))
	bodies := make([][]byte, len(part.entries))
	for i, e := range part.entries {
		if bodies[i], err = bareEntry(k, e, formProtobuf); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Ref, err)
		}
		length += fieldSize(len(bodies[i]))
	}
	head := appendEnvelope(nil, k.ListGVK(), length)
	head = append(appendField(head, 1, len(meta)), meta...)
	parts := make([][]byte, 0, 2*len(bodies)+1)
	parts = append(parts, head)
	for _, b := range bodies {
		parts = append(parts, appendField(nil, 2, len(b)), b)
	}
	return parts, nil
}
