package rest

import (
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/apiserver/write"
)

const (
	headerUser  = "Impersonate-User"
	headerUID   = "Impersonate-Uid"
	headerGroup = "Impersonate-Group"
	extraPrefix = "Impersonate-Extra-"
)

// impersonate takes the identity that the headers ask for, if the caller may
// impersonate every part of it.
func (h *Handler) impersonate(r *http.Request, real txn.Identity) (txn.Identity, error) {
	wanted := txn.Identity{Name: r.Header.Get(headerUser), UID: r.Header.Get(headerUID), Groups: slices.Clone(r.Header.Values(headerGroup)),
		Extra: authn.ExtraHeaders(r.Header, extraPrefix), Address: real.Address, UserAgent: real.UserAgent, Impersonator: real.Name}
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
	wanted.Groups = groupsOf(wanted)
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			r.Header.Del(name)
		}
	}
	return wanted, nil
}

// groupsOf are the groups of an impersonated identity: those asked for, or
// what a service account has anyway. Who is somebody also is authenticated,
// unless the groups asked for say the contrary.
func groupsOf(wanted txn.Identity) []string {
	groups := wanted.Groups
	if namespace, _, ok := serviceAccountName(wanted.Name); ok && len(groups) == 0 {
		groups = []string{authn.GroupServiceAccounts, authn.GroupServiceAccounts + ":" + namespace}
	}
	all := authn.GroupAuthenticated
	if wanted.Name == authn.Anonymous {
		all = authn.GroupUnauthenticated
	}
	if slices.Contains(groups, all) || slices.Contains(groups, authn.GroupUnauthenticated) {
		return groups
	}
	return append(groups, all)
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
