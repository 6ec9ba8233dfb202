package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func nodeKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Node"),
		Plural:        "nodes",
		Singular:      "node",
		ShortNames:    []string{"no"},
		StoragePrefix: "minions",
		New:           func() txn.Object { return &corev1.Node{} },
		NewList:       func() runtime.Object { return &corev1.NodeList{} },
		Columns:       nodeColumns(),
		Row:           row(nodeRow),
	}
}
