package kinds

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func roleKind() *kind.Kind {
	return &kind.Kind{
		GVK:           rbacv1.SchemeGroupVersion.WithKind("Role"),
		Plural:        "roles",
		Singular:      "role",
		Namespaced:    true,
		StoragePrefix: "roles",
		New:           func() txn.Object { return &rbacv1.Role{} },
		NewList:       func() runtime.Object { return &rbacv1.RoleList{} },
		Name:          rbacName,
		Validate:      validate(checkRole),
		Columns:       []column{nameColumn(), createdColumn()},
		Row:           row(func(o *rbacv1.Role, _ time.Time) []any { return []any{o.Name, created(o)} }),
	}
}

func clusterRoleKind() *kind.Kind {
	return &kind.Kind{
		GVK:           rbacv1.SchemeGroupVersion.WithKind("ClusterRole"),
		Plural:        "clusterroles",
		Singular:      "clusterrole",
		StoragePrefix: "clusterroles",
		New:           func() txn.Object { return &rbacv1.ClusterRole{} },
		NewList:       func() runtime.Object { return &rbacv1.ClusterRoleList{} },
		Name:          rbacName,
		Validate:      validate(checkClusterRole),
		Columns:       []column{nameColumn(), createdColumn()},
		Row:           row(func(o *rbacv1.ClusterRole, _ time.Time) []any { return []any{o.Name, created(o)} }),
	}
}
