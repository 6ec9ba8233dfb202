package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func podKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Pod"),
		Plural:        "pods",
		Singular:      "pod",
		ShortNames:    []string{"po"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "pods",
		New:           func() txn.Object { return &corev1.Pod{} },
		NewList:       func() runtime.Object { return &corev1.PodList{} },
		Columns:       podColumns(),
		Row:           row(podRow),
	}
}
