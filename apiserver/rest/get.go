package rest

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	e := snapshot.Entry(c.kind.Ref(c.namespace(), c.info.Name))
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
		h.answerObject(w, r, code, a, partialGVK, partial(e.Object))
		return nil
	}
	b, err := encodeEntry(a, k.GVK, e)
	if err != nil {
		return err
	}
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
	o, err := sub.Get(e.Object)
	if err != nil {
		return err
	}
	a, err := negotiate(r, hasProtobuf(o))
	if err != nil {
		return err
	}
	if a.shape != shapeObject {
		return notAcceptable(true)
	}
	h.answerObject(w, r, http.StatusOK, a, sub.GVK, o)
	return nil
}
