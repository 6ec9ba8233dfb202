package rest

import (
	"io"
	"net/http"
	"slices"

	"github.com/headway-sh/headway/apiserver/kind"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// notFoundPage is the answer to a path that nothing is served at; clients tell
// it from a missing object by its not being a Status.
func notFoundPage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, "404 page not found\n") // an error means that the client is gone
}

// serveResource answers a request for an API resource.
func (h *Handler) serveResource(w http.ResponseWriter, r *http.Request, c *call) error {
	info := c.info
	if v, ok := h.virtual[virtualKey{info.Group, info.Version, info.Resource}]; ok {
		return h.serveVirtual(w, r, c, v)
	}
	k, ok := h.Kinds.ByGVR(h.reader.Snapshot(), schema.GroupVersionResource{Group: info.Group, Version: info.Version, Resource: info.Resource})
	if !ok || !fits(k, info) {
		notFoundPage(w)
		return nil
	}
	if k.Shape != nil {
		if err := h.Kinds.Attach(r.Context(), k.Stored()); err != nil {
			return err
		}
	}
	if k.Deprecated != "" {
		addWarning(w, k.Deprecated)
		auditOf(w).deprecated()
	}
	c.kind = k
	if info.Subresource != "" {
		return h.serveSubresource(w, r, c)
	}
	nameless := info.Name == "" && (info.Verb == "update" || info.Verb == "patch")
	if !slices.Contains(verbsOf(k), info.Verb) || nameless || c.isHead(r) {
		return c.notAllowed()
	}
	switch info.Verb {
	case "get":
		return h.serveGet(w, r, c)
	case "list":
		return h.serveList(w, r, c)
	case "watch":
		return h.serveWatch(w, r, c)
	case "create":
		return h.serveCreate(w, r, c)
	case "update":
		return h.serveUpdate(w, r, c)
	case "patch":
		return h.servePatch(w, r, c)
	case "delete":
		return h.serveDelete(w, r, c)
	case "deletecollection":
		return h.serveDeleteCollection(w, r, c)
	}
	return c.notAllowed()
}

// notAllowed says that the resource does not have the verb. Kubernetes has no
// route then for its own resources, but one for everything of custom ones.
func (c *call) notAllowed() error {
	if c.kind != nil && c.kind.Shape != nil {
		return apierrors.NewMethodNotSupported(c.info.GroupResource(), c.info.Verb)
	}
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)
}

// isHead tells the one method that stands for another's verb: only custom
// resources are read by it.
func (c *call) isHead(r *http.Request) bool {
	return r.Method == http.MethodHead && c.kind.Shape == nil
}

// fits tells whether the path has the shape that the kind's scope wants.
func fits(k *kind.Kind, info *RequestInfo) bool {
	if !k.Namespaced {
		return info.Namespace == "" || (info.Resource == "namespaces" && info.Group == "" && info.Namespace == info.Name)
	}
	return info.Namespace != "" || info.Name == ""
}

var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// verbsOf are the verbs of a kind's main resource.
func verbsOf(k *kind.Kind) []string {
	if k.Verbs != nil {
		return k.Verbs
	}
	return allVerbs
}

// serveSubresource answers a request below an object.
func (h *Handler) serveSubresource(w http.ResponseWriter, r *http.Request, c *call) error {
	info := c.info
	sub, ok := c.kind.Subresources[info.Subresource]
	if !ok || info.Name == "" {
		notFoundPage(w)
		return nil
	}
	if info.Subresource == "token" && info.Group == "" && info.Resource == "serviceaccounts" {
		return h.serveToken(w, r, c)
	}
	if info.Subresource == "eviction" && info.Group == "" && info.Resource == "pods" {
		return h.serveEviction(w, r, c)
	}
	if sub.Connect {
		return h.serveConnect(w, r, c)
	}
	if !slices.Contains(sub.Verbs, info.Verb) || c.isHead(r) {
		return c.notAllowed()
	}
	switch info.Verb {
	case "get":
		return h.serveGetSubresource(w, r, c, sub)
	case "create":
		return h.serveCreate(w, r, c)
	case "update":
		return h.serveUpdate(w, r, c)
	case "patch":
		return h.servePatch(w, r, c)
	}
	return c.notAllowed()
}
