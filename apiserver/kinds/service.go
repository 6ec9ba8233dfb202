package kinds

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func serviceKind() *kind.Kind {
	p := partsOf(func(o *corev1.Service) *corev1.ServiceSpec { return &o.Spec }, func(o *corev1.Service) *corev1.ServiceStatus { return &o.Status })
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
		Name:          apivalidation.NameIsDNSLabel,
		Default:       defaults(defaultService),
		Prepare:       prepare(prepareService),
		Subresources: map[string]kind.Subresource{
			"status": p.statusSubresource(checkServiceStatus),
			"proxy":  proxySubresource("ServiceProxyOptions"),
		},
		Fields: map[string]func(txn.Object) string{
			"spec.clusterIP": text(func(o *corev1.Service) string { return o.Spec.ClusterIP }),
			"spec.type":      text(func(o *corev1.Service) string { return string(o.Spec.Type) }),
		},
		Validate: validate(checkService),
		Warnings: warnings(serviceWarnings),
		Columns:  serviceColumns(),
		Row:      row(serviceRow),
	}
}
