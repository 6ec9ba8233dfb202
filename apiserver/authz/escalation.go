package authz

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/headway-sh/headway/api/txn"
)

// Uncovered returns the rules among wanted that the identity does not hold in
// the namespace, so that nobody hands out more than they have. Nil: all are
// held.
func Uncovered(view txn.View, id txn.Identity, namespace string, wanted []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	if len(wanted) == 0 || slices.Contains(id.Groups, groupMasters) {
		return nil
	}
	covered, missing := validation.Covers(Rules(view, id, namespace), wanted)
	if covered {
		return nil
	}
	return missing
}

// ReferencedRules are the rules behind a binding's role; ok is false when the
// role does not exist.
func ReferencedRules(view txn.View, namespace string, ref rbacv1.RoleRef) (rules []rbacv1.PolicyRule, ok bool) {
	target := txn.Ref{Resource: clusterRoles, Name: ref.Name}
	if ref.Kind == "Role" {
		target = txn.Ref{Resource: roles, Namespace: namespace, Name: ref.Name}
	}
	_, ok = view.Get(target)
	return roleRules(view, namespace, ref), ok
}
