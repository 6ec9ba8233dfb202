package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// identify finds out who asks, and as whom.
func (h *Handler) identify(r *http.Request) (txn.Identity, error) {
	identity, ok, err := h.Authenticator.Authenticate(h.reader.Snapshot(), r)
	if err != nil || !ok {
		if err != nil {
			h.log.Info("refused credentials", "address", r.RemoteAddr, "error", err)
		}
		return txn.Identity{}, apierrors.NewUnauthorized("Unauthorized")
	}
	r.Header.Del("Authorization") // nobody behind this needs it
	return h.impersonate(r, identity)
}

const (
	headerUser  = "Impersonate-User"
	headerUID   = "Impersonate-Uid"
	headerGroup = "Impersonate-Group"
	extraPrefix = "Impersonate-Extra-"
)

// impersonate takes the identity that the headers ask for, if the caller may
// impersonate every part of it.
func (h *Handler) impersonate(r *http.Request, real txn.Identity) (txn.Identity, error) {
	wanted := txn.Identity{Name: r.Header.Get(headerUser), UID: r.Header.Get(headerUID),
		Groups: slices.Clone(r.Header.Values(headerGroup)), Address: real.Address, UserAgent: real.UserAgent, Impersonator: real.Name}
	for name, values := range r.Header {
		if key, ok := strings.CutPrefix(name, extraPrefix); ok {
			if decoded, err := url.PathUnescape(key); err == nil {
				key = decoded
			}
			if wanted.Extra == nil {
				wanted.Extra = map[string][]string{}
			}
			wanted.Extra[strings.ToLower(key)] = slices.Clone(values)
		}
	}
	if wanted.Name == "" {
		if wanted.UID != "" || len(wanted.Groups) > 0 || len(wanted.Extra) > 0 {
			return real, apierrors.NewBadRequest("a group, uid or extra can only be impersonated together with a user")
		}
		return real, nil
	}
	for _, a := range impersonated(wanted) {
		if err := h.authorize(real, a); err != nil {
			return real, err
		}
	}
	if namespace, _, ok := serviceAccountName(wanted.Name); ok && len(wanted.Groups) == 0 {
		wanted.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
	}
	if wanted.Name != "system:anonymous" && !slices.Contains(wanted.Groups, "system:authenticated") {
		wanted.Groups = append(wanted.Groups, "system:authenticated")
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			r.Header.Del(name)
		}
	}
	return wanted, nil
}

// impersonated lists what must be allowed to take an identity.
func impersonated(wanted txn.Identity) []write.Attributes {
	var list []write.Attributes
	take := func(group, resource, subresource, namespace, name string) {
		list = append(list, write.Attributes{Verb: "impersonate", Resource: schema.GroupResource{Group: group, Resource: resource},
			Version: "v1", Subresource: subresource, Namespace: namespace, Name: name})
	}
	if namespace, name, ok := serviceAccountName(wanted.Name); ok {
		take("", "serviceaccounts", "", namespace, name)
	} else {
		take("", "users", "", "", wanted.Name)
	}
	if wanted.UID != "" {
		take("authentication.k8s.io", "uids", "", "", wanted.UID)
	}
	for _, g := range wanted.Groups {
		take("", "groups", "", "", g)
	}
	for key, values := range wanted.Extra {
		for _, v := range values {
			take("authentication.k8s.io", "userextras", key, "", v)
		}
	}
	return list
}

// serviceAccountName splits system:serviceaccount:NAMESPACE:NAME.
func serviceAccountName(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
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
		a.FieldSelector = r.URL.Query().Get("fieldSelector")
		if s, err := fields.ParseSelector(a.FieldSelector); err == nil {
			a.Name, _ = s.RequiresExactMatch(fieldName)
		}
	}
	return a
}

// authorize refuses with a 403 what the identity may not do.
func (h *Handler) authorize(identity txn.Identity, a write.Attributes) error {
	return write.Authorize(h.Authorizer, h.reader.Snapshot(), identity, a)
}
