package apiserver

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authz"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// authorizer is authz in the words of the write path.
type authorizer struct{ authz.Authorizer }

var _ write.Authorizer = authorizer{}

func (a authorizer) Authorize(view txn.View, identity txn.Identity, w write.Attributes) write.Decision {
	allowed, reason := a.Authorizer.Authorize(view, identity, authz.Attributes{
		Verb: w.Verb, Group: w.Resource.Group, Version: w.Version, Resource: w.Resource.Resource, Subresource: w.Subresource,
		Namespace: w.Namespace, Name: w.Name, Path: w.Path, FieldSelector: w.FieldSelector, LabelSelector: w.LabelSelector,
	})
	return write.Decision{Allowed: allowed, Reason: reason}
}

// Readable says why somebody may not read an object or, without a name, list a
// resource in a namespace. Of a service account the groups need not be named.
func (s *Server) Readable(view txn.View, who txn.Identity, ref txn.Ref) error {
	who.Groups = write.GroupsOf(who)
	verb := "get"
	if ref.Name == "" {
		verb = "list"
	}
	return write.Authorize(authorizer{}, view, who, write.Attributes{Verb: verb, Resource: ref.Resource, Namespace: ref.Namespace, Name: ref.Name})
}

// rulesOf are the rules of an identity, for reviews.
func rulesOf(view txn.View, id txn.Identity, namespace string) (rules []rbacv1.PolicyRule, missing string) {
	if _, ok := authz.NodeName(id); ok {
		missing = "node authorizer does not support user rule resolution"
	}
	return authz.Rules(view, id, namespace), missing
}

// withIndexes adds the indexes that authorization reads to the rows it reads.
func withIndexes(rows []*kind.Kind) {
	for _, k := range rows {
		if k.GVK.Group != rbacv1.GroupName || k.GVK.Kind != "RoleBinding" && k.GVK.Kind != "ClusterRoleBinding" {
			continue
		}
		if k.Indexes == nil {
			k.Indexes = map[string]func(txn.Object) []string{}
		}
		k.Indexes[authz.IndexSubject] = authz.Subjects
	}
}
