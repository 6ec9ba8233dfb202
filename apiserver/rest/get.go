package rest

import (
	"net/http"
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// find reads the object of the path, from a state that the query's
// resourceVersion allows.
func (h *Handler) find(r *http.Request, c *call) (*store.Entry, error) {
	query := r.URL.Query()
	snapshot, err := h.snapshotFor(r.Context(), c.kind, &metav1.ListOptions{ResourceVersion: query.Get("resourceVersion")})
	if err != nil {
		return nil, err
	}
	ref := c.kind.Ref(c.namespace(), c.info.Name)
	e := snapshot.Entry(ref)
	if c.kind.Computed != nil {
		all, err := computed(r.Context(), c.kind, snapshot, ref.Namespace)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(all, func(e *store.Entry) bool { return e.Ref == ref }); i >= 0 {
			e = all[i]
		}
	}
	if e == nil {
		return nil, apierrors.NewNotFound(c.info.GroupResource(), c.info.Name)
	}
	return e, nil
}

// namespace is the path's, but none for cluster-scoped kinds: the path of a
// Namespace's own subresources looks as if it had one.
func (c *call) namespace() string {
	if c.kind != nil && !c.kind.Namespaced {
		return ""
	}
	return c.info.Namespace
}

// serveGet answers GET on one object.
func (h *Handler) serveGet(w http.ResponseWriter, r *http.Request, c *call) error {
	e, err := h.find(r, c)
	if err != nil {
		return err
	}
	return h.answerEntry(w, r, http.StatusOK, c.kind, e)
}

// answerEntry writes one object in the shape that the client asks for.
func (h *Handler) answerEntry(w http.ResponseWriter, r *http.Request, code int, k *kind.Kind, e *store.Entry) error {
	a, err := negotiate(r, hasProtobuf(e.Object))
	if err != nil {
		return err
	}
	switch a.shape {
	case shapeTable:
		part := &chunk{entries: []*store.Entry{e}, meta: metav1.ListMeta{ResourceVersion: e.Object.GetResourceVersion()}}
		return h.answerTable(w, r, a, k, part)
	case shapePartial:
		h.answerObject(w, r, code, a, a.meta("PartialObjectMetadata"), partial(e.Object))
		return nil
	}
	b, err := encodeEntry(a, k, e)
	if err != nil {
		return err
	}
	auditOf(w).answered(plain(a, b), func() ([]byte, error) { return encodeEntry(accepted{media: mediaJSON}, k, e) })
	h.answerBytes(w, r, code, a.media, b)
	return nil
}

// serveGetSubresource answers GET below an object: the object itself, as for
// status, or what the subresource makes of it, as for scale.
func (h *Handler) serveGetSubresource(w http.ResponseWriter, r *http.Request, c *call, sub kind.Subresource) error {
	e, err := h.find(r, c)
	if err != nil {
		return err
	}
	if sub.Get == nil {
		return h.answerEntry(w, r, http.StatusOK, c.kind, e)
	}
	return h.answerMade(w, r, http.StatusOK, c.kind, sub, e.Object)
}

// answerMade answers with what a subresource makes of the stored object.
func (h *Handler) answerMade(w http.ResponseWriter, r *http.Request, code int, k *kind.Kind, sub kind.Subresource, stored txn.Object) error {
	o, err := sub.Get(stored)
	if err != nil {
		return err
	}
	if sub.GVK.Kind != "" {
		k = made(sub)
	}
	return h.answerEntry(w, r, code, k, &store.Entry{Object: o})
}

// made is a row for what only a subresource shows. Scale, which several kinds
// have, brings its own columns.
func made(sub kind.Subresource) *kind.Kind {
	k := &kind.Kind{GVK: sub.GVK}
	if sub.GVK.Kind != "Scale" {
		return k
	}
	k.Columns = []metav1.TableColumnDefinition{defaultColumns[0],
		{Name: "Desired", Type: "integer", Description: "How many replicas are wanted."},
		{Name: "Available", Type: "integer", Description: "How many replicas there are."},
		defaultColumns[1]}
	k.Row = func(o txn.Object, now time.Time) []any {
		scale, ok := o.(*autoscalingv1.Scale)
		if !ok {
			return []any{o.GetName(), 0, 0, kind.Age(o.GetCreationTimestamp(), now)}
		}
		return []any{o.GetName(), scale.Spec.Replicas, scale.Status.Replicas, kind.Age(o.GetCreationTimestamp(), now)}
	}
	return k
}
