package rest

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// identify finds out as whom somebody asks, and who does when that is somebody
// else.
func (h *Handler) identify(r *http.Request) (as txn.Identity, real *txn.Identity, err error) {
	identity, ok, err := h.Authenticator.Authenticate(h.reader.Snapshot(), r)
	if err != nil {
		h.log.Info("refused credentials", "address", r.RemoteAddr, "error", err)
	} else if !ok {
		ok, _ = h.anonymous(r.URL.Path)
	}
	if err != nil || !ok {
		return txn.Identity{}, nil, apierrors.NewUnauthorized("Unauthorized")
	}
	r.Header.Del("Authorization") // nobody behind this needs it
	as, err = h.impersonate(r, identity)
	if err != nil || as.Impersonator == "" {
		return as, nil, err
	}
	who := identity // of its own, so that others cost no memory
	return as, &who, nil
}

// anonymous tells whether a path is answered without a credential, under the
// rights of system:anonymous, and whether anything has been said about it.
func (h *Handler) anonymous(path string) (allowed, decided bool) {
	if h.Anonymous == nil {
		return false, false
	}
	return h.Anonymous(path)
}

// attributesOf is what a request wants. A list or watch that its field selector
// narrows to one name is one of that name.
func attributesOf(r *http.Request, info *RequestInfo) write.Attributes {
	if !info.IsResource {
		return write.Attributes{Verb: info.Verb, Path: info.Path}
	}
	a := write.Attributes{Verb: info.Verb, Resource: info.GroupResource(), Version: info.Version,
		Subresource: info.Subresource, Namespace: info.Namespace, Name: info.Name}
	if a.Name == "" && a.Verb != "create" {
		query := r.URL.Query()
		a.FieldSelector, a.LabelSelector = query.Get("fieldSelector"), query.Get("labelSelector")
		if s, err := fields.ParseSelector(a.FieldSelector); err == nil {
			a.Name, _ = s.RequiresExactMatch(fieldName)
		}
	}
	return a
}

// decide is authorize that says why.
func (h *Handler) decide(identity txn.Identity, a write.Attributes) (write.Decision, error) {
	return write.Decide(h.Authorizer, h.reader.Snapshot(), identity, a)
}

// authorize refuses with a 403 what the identity may not do.
func (h *Handler) authorize(identity txn.Identity, a write.Attributes) error {
	return write.Authorize(h.Authorizer, h.reader.Snapshot(), identity, a)
}
