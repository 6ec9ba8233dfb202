package authz

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// IndexSubject is the index of role bindings and cluster role bindings by the
// subjects they name; its values come from Subjects.
const IndexSubject = "subject"

var (
	roles               = schema.GroupResource{Group: rbacv1.GroupName, Resource: "roles"}
	clusterRoles        = schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterroles"}
	roleBindings        = schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebindings"}
	clusterRoleBindings = schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterrolebindings"}
)

// Subjects gives the index values of a binding; nil for other objects.
func Subjects(o txn.Object) []string {
	var subjects []rbacv1.Subject
	switch b := o.(type) {
	case *rbacv1.RoleBinding:
		subjects = b.Subjects
	case *rbacv1.ClusterRoleBinding:
		subjects = b.Subjects
	}
	values := make([]string, 0, len(subjects))
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			values = append(values, "u:"+s.Name)
		case rbacv1.GroupKind:
			values = append(values, "g:"+s.Name)
		case rbacv1.ServiceAccountKind:
			namespace := s.Namespace
			if namespace == "" {
				namespace = o.GetNamespace()
			}
			values = append(values, "u:system:serviceaccount:"+namespace+":"+s.Name)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// subjectsOf are the index values that bindings for the identity have.
func subjectsOf(id txn.Identity) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield("u:" + id.Name) {
			return
		}
		for _, g := range id.Groups {
			if !yield("g:" + g) {
				return
			}
		}
	}
}

// rulesFor yields every rule that holds for the identity in the namespace
// (cluster-wide ones too), with the binding that grants it.
func rulesFor(view txn.View, id txn.Identity, namespace string) iter.Seq2[txn.Object, []rbacv1.PolicyRule] {
	return func(yield func(txn.Object, []rbacv1.PolicyRule) bool) {
		for subject := range subjectsOf(id) {
			for o := range view.EachIndexed(clusterRoleBindings, IndexSubject, subject) {
				if !yield(o, roleRules(view, "", o.(*rbacv1.ClusterRoleBinding).RoleRef)) {
					return
				}
			}
			if namespace == "" {
				continue
			}
			for o := range view.EachIndexed(roleBindings, IndexSubject, subject) {
				if o.GetNamespace() == namespace && !yield(o, roleRules(view, namespace, o.(*rbacv1.RoleBinding).RoleRef)) {
					return
				}
			}
		}
	}
}

// roleRules are the rules behind a reference; a missing role grants nothing.
func roleRules(view txn.View, namespace string, ref rbacv1.RoleRef) []rbacv1.PolicyRule {
	switch ref.Kind {
	case "ClusterRole":
		if o, ok := view.Get(txn.Ref{Resource: clusterRoles, Name: ref.Name}); ok {
			return o.(*rbacv1.ClusterRole).Rules
		}
	case "Role":
		if o, ok := view.Get(txn.Ref{Resource: roles, Namespace: namespace, Name: ref.Name}); ok {
			return o.(*rbacv1.Role).Rules
		}
	}
	return nil
}

func authorizeRBAC(view txn.View, id txn.Identity, a Attributes) (bool, string) {
	for binding, rules := range rulesFor(view, id, a.Namespace) {
		for i := range rules {
			if matches(&rules[i], a) {
				return true, grantedBy(binding, id)
			}
		}
	}
	return false, ""
}

// grantedBy words why a binding's rule holds for somebody, as Kubernetes does.
func grantedBy(binding txn.Object, id txn.Identity) string {
	var b strings.Builder
	quoted := func(kind, name string) {
		b.WriteString(kind)
		b.WriteByte(' ')
		b.WriteString(strconv.Quote(name))
	}
	b.WriteString("RBAC: allowed by ")
	var ref rbacv1.RoleRef
	var subjects []rbacv1.Subject
	switch o := binding.(type) {
	case *rbacv1.ClusterRoleBinding:
		quoted("ClusterRoleBinding", o.Name)
		ref, subjects = o.RoleRef, o.Subjects
	case *rbacv1.RoleBinding:
		quoted("RoleBinding", o.Name+"/"+o.Namespace)
		ref, subjects = o.RoleRef, o.Subjects
	}
	quoted(" of "+ref.Kind, ref.Name)
	for i := range subjects {
		if s := &subjects[i]; isSubject(s, binding.GetNamespace(), id) {
			name := s.Name
			if s.Kind == rbacv1.ServiceAccountKind {
				name += "/" + cmp.Or(s.Namespace, binding.GetNamespace())
			}
			quoted(" to "+s.Kind, name)
			break
		}
	}
	return b.String()
}

func isSubject(s *rbacv1.Subject, namespace string, id txn.Identity) bool {
	switch s.Kind {
	case rbacv1.UserKind:
		return s.Name == id.Name
	case rbacv1.GroupKind:
		return slices.Contains(id.Groups, s.Name)
	case rbacv1.ServiceAccountKind:
		return "system:serviceaccount:"+cmp.Or(s.Namespace, namespace)+":"+s.Name == id.Name
	}
	return false
}

func matches(r *rbacv1.PolicyRule, a Attributes) bool {
	if !has(r.Verbs, a.Verb) {
		return false
	}
	if a.Path != "" {
		return slices.ContainsFunc(r.NonResourceURLs, func(p string) bool {
			prefix, wild := strings.CutSuffix(p, "*")
			return p == a.Path || wild && strings.HasPrefix(a.Path, prefix)
		})
	}
	if !has(r.APIGroups, a.Group) || !hasResource(r.Resources, a.Resource, a.Subresource) {
		return false
	}
	return len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name)
}

func has(list []string, want string) bool {
	for _, have := range list {
		if have == "*" || have == want {
			return true
		}
	}
	return false
}

// hasResource matches "pods", "pods/log", "*/scale" and "*" as RBAC does.
func hasResource(list []string, resource, subresource string) bool {
	for _, have := range list {
		if have == "*" {
			return true
		}
		if subresource == "" {
			if have == resource {
				return true
			}
			continue
		}
		head, tail, ok := strings.Cut(have, "/")
		if ok && tail == subresource && (head == "*" || head == resource) {
			return true
		}
	}
	return false
}

// Rules are all rules of the identity in a namespace, for
// SelfSubjectRulesReview and escalation checks.
func Rules(view txn.View, id txn.Identity, namespace string) []rbacv1.PolicyRule {
	var all []rbacv1.PolicyRule
	if slices.Contains(id.Groups, groupMasters) {
		all = append(all, rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
			rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}})
	}
	for _, rules := range rulesFor(view, id, namespace) {
		all = append(all, rules...)
	}
	return all
}
