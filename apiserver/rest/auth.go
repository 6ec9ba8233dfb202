package rest

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// identify finds out who asks, and as whom.
func (h *Handler) identify(r *http.Request) (txn.Identity, error) {
	identity, ok, err := h.Authenticator.Authenticate(r)
	if err != nil || !ok {
		if err != nil {
			h.log.Info("refused credentials", "address", r.RemoteAddr, "error", err)
		}
		return txn.Identity{}, apierrors.NewUnauthorized("Unauthorized")
	}
	r.Header.Del("Authorization") // nobody behind this needs it
	identity.Address = r.RemoteAddr
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		identity.Address = host
	}
	identity.UserAgent = r.UserAgent()
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
		a.Identity = real
		if err := h.authorize(r, real, a); err != nil {
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
func impersonated(wanted txn.Identity) []Attributes {
	var list []Attributes
	if namespace, name, ok := serviceAccountName(wanted.Name); ok {
		list = append(list, Attributes{Verb: "impersonate", Version: "v1", Resource: "serviceaccounts", Namespace: namespace, Name: name})
	} else if wanted.Name != "" {
		list = append(list, Attributes{Verb: "impersonate", Version: "v1", Resource: "users", Name: wanted.Name})
	}
	if wanted.UID != "" {
		list = append(list, Attributes{Verb: "impersonate", Group: "authentication.k8s.io", Version: "v1", Resource: "uids", Name: wanted.UID})
	}
	for _, g := range wanted.Groups {
		list = append(list, Attributes{Verb: "impersonate", Version: "v1", Resource: "groups", Name: g})
	}
	for key, values := range wanted.Extra {
		for _, v := range values {
			list = append(list, Attributes{Verb: "impersonate", Group: "authentication.k8s.io", Version: "v1", Resource: "userextras", Subresource: key, Name: v})
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
func attributesOf(r *http.Request, info *RequestInfo, identity txn.Identity) Attributes {
	a := Attributes{Identity: identity, Verb: info.Verb}
	if !info.IsResource {
		a.Path = info.Path
		return a
	}
	a.Group, a.Version, a.Resource = info.Group, info.Version, info.Resource
	a.Subresource, a.Namespace, a.Name = info.Subresource, info.Namespace, info.Name
	if a.Name == "" && a.Verb != "create" {
		if s, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector")); err == nil {
			a.Name, _ = s.RequiresExactMatch(fieldName)
		}
	}
	return a
}

// authorize refuses with a 403 what the identity may not do.
func (h *Handler) authorize(r *http.Request, identity txn.Identity, a Attributes) error {
	allowed, reason, err := h.Authorizer.Authorize(r.Context(), h.reader.Latest(), a)
	if err != nil {
		return fmt.Errorf("authorize %s: %w", identity.Name, err)
	}
	if allowed {
		return nil
	}
	message := forbidden(a)
	if reason != "" {
		message += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, fmt.Errorf("%s", message))
}

// forbidden says what somebody may not do, in Kubernetes' words.
func forbidden(a Attributes) string {
	if a.Path != "" {
		return fmt.Sprintf("User %q cannot %s path %q", a.Identity.Name, a.Verb, a.Path)
	}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	if a.Namespace != "" {
		return fmt.Sprintf("User %q cannot %s resource %q in API group %q in the namespace %q", a.Identity.Name, a.Verb, resource, a.Group, a.Namespace)
	}
	return fmt.Sprintf("User %q cannot %s resource %q in API group %q at the cluster scope", a.Identity.Name, a.Verb, resource, a.Group)
}
