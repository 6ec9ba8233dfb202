package write

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

const (
	userAnonymous         = "system:anonymous"
	prefixServiceAccount  = "system:serviceaccount:"
	groupServiceAccounts  = "system:serviceaccounts"
	groupAuthenticated    = "system:authenticated"
	groupUnauthenticated  = "system:unauthenticated"
	groupOfAuthentication = "authentication.k8s.io"
)

// acting is who a change is made as, if identity may.
func (p *Path) acting(view txn.View, identity txn.Identity, change *txn.Change) (txn.Identity, error) {
	if change.As == nil {
		return identity, nil
	}
	for _, a := range Impersonation(*change.As) {
		if err := Authorize(p.Authorizer, view, identity, a); err != nil {
			return identity, err
		}
	}
	by := change.By(identity)
	by.Groups = GroupsOf(by)
	return by, nil
}

// Impersonation lists what must be allowed to take an identity.
func Impersonation(wanted txn.Identity) []Attributes {
	var list []Attributes
	take := func(group, resource, subresource, namespace, name string) {
		list = append(list, Attributes{Verb: "impersonate", Resource: schema.GroupResource{Group: group, Resource: resource},
			Version: "v1", Subresource: subresource, Namespace: namespace, Name: name})
	}
	if namespace, name, ok := serviceAccountName(wanted.Name); ok {
		take("", "serviceaccounts", "", namespace, name)
	} else {
		take("", "users", "", "", wanted.Name)
	}
	if wanted.UID != "" {
		take(groupOfAuthentication, "uids", "", "", wanted.UID)
	}
	for _, g := range wanted.Groups {
		take("", "groups", "", "", g)
	}
	for key, values := range wanted.Extra {
		for _, v := range values {
			take(groupOfAuthentication, "userextras", key, "", v)
		}
	}
	return list
}

// GroupsOf are the groups of an impersonated identity: those asked for, or
// what a service account has anyway. Who is somebody also is authenticated,
// unless the groups asked for say the contrary.
func GroupsOf(wanted txn.Identity) []string {
	groups := slices.Clip(wanted.Groups)
	if namespace, _, ok := serviceAccountName(wanted.Name); ok && len(groups) == 0 {
		groups = []string{groupServiceAccounts, groupServiceAccounts + ":" + namespace}
	}
	all := groupAuthenticated
	if wanted.Name == userAnonymous {
		all = groupUnauthenticated
	}
	if slices.Contains(groups, all) || slices.Contains(groups, groupUnauthenticated) {
		return groups
	}
	return append(groups, all)
}

// serviceAccountName splits system:serviceaccount:NAMESPACE:NAME.
func serviceAccountName(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, prefixServiceAccount)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}
