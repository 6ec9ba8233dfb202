package policy

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/headway-sh/headway/api/txn"
)

// Objects are all roles and bindings of the table, roles before bindings.
func Objects() []txn.Object {
	var all []txn.Object
	for _, r := range slices.Concat(people(), components()) {
		all = append(all, r)
	}
	names := slices.Sorted(maps.Keys(controllerRules))
	for _, name := range names {
		all = append(all, clusterRole("system:controller:"+name, slices.Concat(controllerRules[name], eventRules())...))
	}
	for _, r := range systemRoles() {
		all = append(all, r)
	}
	for _, b := range slices.Concat(peopleBindings(), componentBindings()) {
		all = append(all, b)
	}
	for _, name := range names {
		all = append(all, bind("system:controller:"+name, "system:controller:"+name, account(name)))
	}
	for _, b := range systemRoleBindings() {
		all = append(all, b)
	}
	return all
}

// Changes are what brings the View's roles and bindings up to the table.
// Objects whose autoupdate annotation was set to false are left alone; rules
// and subjects that people added are kept.
func Changes(view txn.View) []txn.Change {
	var changes []txn.Change
	for _, want := range Objects() {
		ref := refOf(want)
		have, ok := view.Get(ref)
		verb, o := txn.Create, want
		if ok {
			if o = merged(have, want); o == nil {
				continue
			}
			verb = txn.Update
		}
		changes = append(changes, txn.Change{Verb: verb, Ref: ref, Version: "v1", Object: o, FieldManager: "headway-bootstrap"})
	}
	return changes
}

func refOf(o txn.Object) txn.Ref {
	resource := ""
	switch o.(type) {
	case *rbacv1.ClusterRole:
		resource = "clusterroles"
	case *rbacv1.ClusterRoleBinding:
		resource = "clusterrolebindings"
	case *rbacv1.Role:
		resource = "roles"
	case *rbacv1.RoleBinding:
		resource = "rolebindings"
	}
	return txn.Ref{Resource: schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// merged returns a copy of have with what is missing from want, or nil when
// nothing is.
func merged(have, want txn.Object) txn.Object {
	if have.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
		return nil
	}
	switch h := have.DeepCopyObject().(type) {
	case *rbacv1.ClusterRole:
		w := want.(*rbacv1.ClusterRole)
		missing, labelled := missingRules(h.Rules, w.Rules), addLabels(h, w)
		if len(missing) == 0 && !labelled && equality.Semantic.DeepEqual(h.AggregationRule, w.AggregationRule) {
			return nil
		}
		h.Rules, h.AggregationRule = append(h.Rules, missing...), w.AggregationRule
		return h
	case *rbacv1.Role:
		missing := missingRules(h.Rules, want.(*rbacv1.Role).Rules)
		if len(missing) == 0 {
			return nil
		}
		h.Rules = append(h.Rules, missing...)
		return h
	case *rbacv1.ClusterRoleBinding:
		missing := missingSubjects(h.Subjects, want.(*rbacv1.ClusterRoleBinding).Subjects)
		if len(missing) == 0 {
			return nil
		}
		h.Subjects = append(h.Subjects, missing...)
		return h
	case *rbacv1.RoleBinding:
		missing := missingSubjects(h.Subjects, want.(*rbacv1.RoleBinding).Subjects)
		if len(missing) == 0 {
			return nil
		}
		h.Subjects = append(h.Subjects, missing...)
		return h
	}
	return nil
}

// addLabels gives a role the labels that it lacks: by them it is aggregated.
func addLabels(have, want *rbacv1.ClusterRole) (added bool) {
	for key, value := range want.Labels {
		if _, ok := have.Labels[key]; !ok {
			metav1.SetMetaDataLabel(&have.ObjectMeta, key, value)
			added = true
		}
	}
	return added
}

func missingRules(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	if _, missing := validation.Covers(have, want); len(missing) > 0 {
		return missing
	}
	return nil
}

func missingSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	var missing []rbacv1.Subject
	for _, w := range want {
		if !slices.Contains(have, w) {
			missing = append(missing, w)
		}
	}
	return missing
}
