package admission

import (
	"context"
	"strconv"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authz"
	"github.com/headway-sh/headway/apiserver/write"
)

// everything is what whoever lets roles be summed up by their labels has to
// hold: anybody's role may join the sum later.
var everything = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

// escalation lets nobody hand out more than they have: who writes a role holds
// its rules or may "escalate" it, who writes a binding holds the rules behind
// it or may "bind" the role.
func escalation() write.Step {
	return write.Step{Name: "RBACEscalation", Validate: func(_ context.Context, view txn.View, r *write.Request) error {
		if r.Operation == write.OperationDelete || r.Subresource != "" {
			return nil
		}
		switch o := r.Object.(type) {
		case *rbacv1.Role:
			if old, ok := r.Old.(*rbacv1.Role); ok && equality.Semantic.DeepEqual(old.Rules, o.Rules) {
				return nil
			}
			return mayWriteRole(view, r, o.Rules)
		case *rbacv1.ClusterRole:
			old, ok := r.Old.(*rbacv1.ClusterRole)
			if ok && equality.Semantic.DeepEqual(old.Rules, o.Rules) && equality.Semantic.DeepEqual(old.AggregationRule, o.AggregationRule) {
				return nil
			}
			if o.AggregationRule != nil && (old == nil || !equality.Semantic.DeepEqual(old.AggregationRule, o.AggregationRule)) {
				return mayWriteRole(view, r, everything)
			}
			return mayWriteRole(view, r, o.Rules)
		case *rbacv1.RoleBinding:
			if old, ok := r.Old.(*rbacv1.RoleBinding); ok && equality.Semantic.DeepEqual(old.Subjects, o.Subjects) && old.RoleRef == o.RoleRef {
				return nil
			}
			return mayBind(view, r, o.RoleRef)
		case *rbacv1.ClusterRoleBinding:
			if old, ok := r.Old.(*rbacv1.ClusterRoleBinding); ok && equality.Semantic.DeepEqual(old.Subjects, o.Subjects) && old.RoleRef == o.RoleRef {
				return nil
			}
			return mayBind(view, r, o.RoleRef)
		}
		return nil
	}}
}

func mayWriteRole(view txn.View, r *write.Request, rules []rbacv1.PolicyRule) error {
	if authorized(view, r, "escalate", r.Ref.Resource, r.Ref.Namespace, r.Ref.Name) {
		return nil
	}
	return uncovered(view, r, rules)
}

func mayBind(view txn.View, r *write.Request, role rbacv1.RoleRef) error {
	resource, namespace := schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterroles"}, r.Ref.Namespace
	if role.Kind == "Role" {
		resource.Resource = "roles"
	}
	if authorized(view, r, "bind", resource, namespace, role.Name) {
		return nil
	}
	rules, ok := authz.ReferencedRules(view, namespace, role)
	if !ok {
		return apierrors.NewNotFound(resource, role.Name)
	}
	return uncovered(view, r, rules)
}

// uncovered refuses with the rules that the writer does not hold.
func uncovered(view txn.View, r *write.Request, rules []rbacv1.PolicyRule) error {
	missing := authz.Uncovered(view, r.Identity, r.Ref.Namespace, rules)
	if len(missing) == 0 {
		return nil
	}
	var lines []string
	for _, rule := range missing {
		lines = append(lines, ruleText(rule))
	}
	return forbidden(r, "user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		r.Identity.Name, r.Identity.Groups, strings.Join(lines, "\n"))
}

func authorized(view txn.View, r *write.Request, verb string, resource schema.GroupResource, namespace, name string) bool {
	allowed, _ := authz.Authorizer{}.Authorize(view, r.Identity, authz.Attributes{
		Verb: verb, Group: resource.Group, Version: "v1", Resource: resource.Resource, Namespace: namespace, Name: name})
	return allowed
}

// ruleText shows a rule without its empty parts.
func ruleText(r rbacv1.PolicyRule) string {
	var parts []string
	for _, part := range []struct {
		name string
		list []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"ResourceNames", r.ResourceNames},
		{"NonResourceURLs", r.NonResourceURLs}, {"Verbs", r.Verbs},
	} {
		if len(part.list) == 0 {
			continue
		}
		quoted := make([]string, len(part.list))
		for i, text := range part.list {
			quoted[i] = strconv.Quote(text)
		}
		parts = append(parts, part.name+":["+strings.Join(quoted, ", ")+"]")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
