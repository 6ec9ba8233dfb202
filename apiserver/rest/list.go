package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// chunk is the part of a list that one request gets.
type chunk struct {
	entries []*store.Entry
	meta    metav1.ListMeta
}

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
	return h.answerList(w, r, a, listGVK(c.kind), part)
}

func listGVK(k *kind.Kind) schema.GroupVersionKind {
	return k.GVK.GroupVersion().WithKind(k.GVK.Kind + "List")
}

// list finds the chunk that the options ask for.
func (h *Handler) list(ctx context.Context, s *selector, options *metav1.ListOptions) (*chunk, error) {
	if options.Continue != "" {
		return h.listOn(ctx, s, options)
	}
	snapshot, err := h.snapshotFor(ctx, options)
	if err != nil {
		return nil, err
	}
	return h.collect(s, snapshot, options, nil), nil
}

// snapshotFor picks the state that resourceVersion and its match ask for.
func (h *Handler) snapshotFor(ctx context.Context, options *metav1.ListOptions) (Snapshot, error) {
	revision, err := parseRevision(options.ResourceVersion)
	if err != nil {
		return nil, err
	}
	switch {
	case options.ResourceVersion == "":
		return h.reader.Current(ctx)
	case revision == 0:
		return h.reader.Latest(), nil
	case options.ResourceVersionMatch == metav1.ResourceVersionMatchExact:
		return h.snapshotAt(ctx, revision)
	}
	return h.notBefore(ctx, revision)
}

// notBefore waits for a revision, but not for one that does not exist yet.
func (h *Handler) notBefore(ctx context.Context, revision int64) (Snapshot, error) {
	if s := h.reader.Latest(); s.Revision() >= revision {
		return s, nil
	}
	current, err := h.reader.Current(ctx)
	if err != nil {
		return nil, err
	}
	if current.Revision() < revision {
		return nil, tooLarge(revision, current.Revision())
	}
	return h.reader.NotBefore(ctx, revision)
}

func (h *Handler) snapshotAt(ctx context.Context, revision int64) (Snapshot, error) {
	if s, ok := h.snapshots.find(revision); ok {
		return s, nil
	}
	s, err := h.notBefore(ctx, revision)
	if err != nil {
		return nil, err
	}
	if s.Revision() != revision {
		return nil, expired("The resourceVersion for the provided list is too old.")
	}
	return s, nil
}

// listOn goes on with a chunked list.
func (h *Handler) listOn(ctx context.Context, s *selector, options *metav1.ListOptions) (*chunk, error) {
	if options.ResourceVersion != "" && options.ResourceVersion != "0" {
		return nil, statusError(http.StatusBadRequest, metav1.StatusReasonBadRequest,
			"specifying resource version is not allowed when using continue")
	}
	revision, after, err := decodeContinue(s.kind, options.Continue)
	if err != nil {
		return nil, err
	}
	if revision < 0 {
		snapshot, err := h.reader.Current(ctx)
		if err != nil {
			return nil, err
		}
		part := h.collect(s, snapshot, options, after)
		return part, nil
	}
	snapshot, ok := h.snapshots.find(revision)
	if !ok {
		if snapshot = h.reader.Latest(); snapshot.Revision() != revision {
			return nil, expiredContinue(s.kind, *after)
		}
	}
	return h.collect(s, snapshot, options, after), nil
}

// collect takes at most options.Limit matching entries.
func (h *Handler) collect(s *selector, snapshot Snapshot, options *metav1.ListOptions, after *txn.Ref) *chunk {
	part := &chunk{meta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(snapshot.Revision(), 10)}}
	limit := int(min(options.Limit, 1<<31-1))
	more, remaining := false, int64(0)
	for e := range candidates(s, snapshot, after) {
		if !s.matches(e.Object) {
			continue
		}
		if limit > 0 && len(part.entries) == limit {
			more = true
			remaining++
			if !s.everything() {
				break // how many match is not counted, as it would cost a full pass
			}
			continue
		}
		part.entries = append(part.entries, e)
	}
	if more {
		h.snapshots.keep(snapshot)
		part.meta.Continue = encodeContinue(s.kind, snapshot.Revision(), part.entries[limit-1].Ref)
		if s.everything() {
			part.meta.RemainingItemCount = &remaining
		}
	}
	return part
}

// candidates yields, in order, the entries that may match: one by its name, a
// few by an index, or all of the namespace.
func candidates(s *selector, snapshot Snapshot, after *txn.Ref) func(yield func(*store.Entry) bool) {
	resource := s.kind.Resource()
	switch {
	case s.name != "" && (s.namespace != "" || !s.kind.Namespaced):
		return func(yield func(*store.Entry) bool) {
			if e, ok := snapshot.Entry(s.kind.Ref(s.namespace, s.name)); ok && (after == nil || after.Compare(e.Ref) < 0) {
				yield(e)
			}
		}
	case s.index != "":
		var found []*store.Entry
		for o := range snapshot.EachIndexed(resource, s.index, s.value) {
			e, ok := snapshot.Entry(s.kind.Ref(o.GetNamespace(), o.GetName()))
			if ok && (after == nil || after.Compare(e.Ref) < 0) {
				found = append(found, e)
			}
		}
		slices.SortFunc(found, func(a, b *store.Entry) int {
			return cmp.Or(cmp.Compare(a.Ref.Namespace, b.Ref.Namespace), cmp.Compare(a.Ref.Name, b.Ref.Name))
		})
		return slices.Values(found)
	}
	return snapshot.Entries(resource, s.namespace, after)
}

// answerList writes a list out of the entries' shared forms.
func (h *Handler) answerList(w http.ResponseWriter, r *http.Request, a accepted, gvk schema.GroupVersionKind, part *chunk) error {
	if a.media == mediaProtobuf {
		parts, err := protobufList(gvk, part)
		if err != nil {
			return err
		}
		h.answerParts(w, r, http.StatusOK, mediaProtobuf, parts)
		return nil
	}
	parts, err := jsonList(gvk, part)
	if err != nil {
		return err
	}
	if a.media == mediaYAML || a.pretty {
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
func jsonList(gvk schema.GroupVersionKind, part *chunk) ([][]byte, error) {
	meta, err := json.Marshal(part.meta)
	if err != nil {
		return nil, fmt.Errorf("encode list metadata: %w", err)
	}
	head := appendTyped(nil, gvk, []byte(`{"metadata":`))
	head = append(append(head, meta...), `,"items":[`...)
	parts := make([][]byte, 0, 2*len(part.entries)+2)
	parts = append(parts, head)
	comma := []byte{','}
	for i, e := range part.entries {
		b, err := bareEntry(e, formJSON)
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

// protobufList gives the pieces of a protobuf list. Every list type of the API
// has its metadata in field 1 and its items in field 2.
func protobufList(gvk schema.GroupVersionKind, part *chunk) ([][]byte, error) {
	meta, err := part.meta.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode list metadata: %w", err)
	}
	length := fieldSize(len(meta))
	bodies := make([][]byte, len(part.entries))
	for i, e := range part.entries {
		if bodies[i], err = bareEntry(e, formProtobuf); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Ref, err)
		}
		length += fieldSize(len(bodies[i]))
	}
	head := appendEnvelope(nil, gvk, length)
	head = append(appendField(head, 1, len(meta)), meta...)
	parts := make([][]byte, 0, 2*len(bodies)+1)
	parts = append(parts, head)
	for _, b := range bodies {
		parts = append(parts, appendField(nil, 2, len(b)), b)
	}
	return parts, nil
}
