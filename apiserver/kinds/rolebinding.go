package kinds

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func roleBindingKind() *kind.Kind {
	return &kind.Kind{
		GVK:           rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
		Plural:        "rolebindings",
		Singular:      "rolebinding",
		Namespaced:    true,
		StoragePrefix: "rolebindings",
		New:           func() txn.Object { return &rbacv1.RoleBinding{} },
		NewList:       func() runtime.Object { return &rbacv1.RoleBindingList{} },
		Name:          rbacName,
		Validate:      validate(checkRoleBinding),
		Default:       defaults(func(o *rbacv1.RoleBinding) { defaultBinding(&o.RoleRef, o.Subjects) }),
		Columns:       bindingColumns(),
		Row: row(func(o *rbacv1.RoleBinding, now time.Time) []any {
			return bindingRow(o, o.RoleRef, o.Subjects, now)
		}),
	}
}

func clusterRoleBindingKind() *kind.Kind {
	return &kind.Kind{
		GVK:           rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
		Plural:        "clusterrolebindings",
		Singular:      "clusterrolebinding",
		StoragePrefix: "clusterrolebindings",
		New:           func() txn.Object { return &rbacv1.ClusterRoleBinding{} },
		NewList:       func() runtime.Object { return &rbacv1.ClusterRoleBindingList{} },
		Name:          rbacName,
		Validate:      validate(checkClusterRoleBinding),
		Default:       defaults(func(o *rbacv1.ClusterRoleBinding) { defaultBinding(&o.RoleRef, o.Subjects) }),
		Columns:       bindingColumns(),
		Row: row(func(o *rbacv1.ClusterRoleBinding, now time.Time) []any {
			return bindingRow(o, o.RoleRef, o.Subjects, now)
		}),
	}
}

func bindingColumns() []column {
	return append([]column{
		nameColumn(), str("Role", rbacv1.RoleBinding{}.SwaggerDoc()["roleRef"]), ageColumn(),
	}, wide(
		str("Users", "Users in the binding"), str("Groups", "Groups in the binding"),
		str("ServiceAccounts", "ServiceAccounts in the binding"),
	)...)
}

func bindingRow(o metav1.Object, ref rbacv1.RoleRef, subjects []rbacv1.Subject, now time.Time) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{
		o.GetName(), ref.Kind + "/" + ref.Name, age(o, now),
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", "),
	}
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	setDefault(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if s := &subjects[i]; s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind {
			setDefault(&s.APIGroup, rbacv1.GroupName)
		}
	}
}
