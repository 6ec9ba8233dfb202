package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func serviceKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Service"),
		Plural:        "services",
		Singular:      "service",
		ShortNames:    []string{"svc"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "services/specs",
		New:           func() txn.Object { return &corev1.Service{} },
		NewList:       func() runtime.Object { return &corev1.ServiceList{} },
		Columns:       serviceColumns(),
		Row:           row(serviceRow),
	}
}
