package kinds

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func networkPolicyKind() *kind.Kind {
	return &kind.Kind{
		GVK:           networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
		Plural:        "networkpolicies",
		Singular:      "networkpolicy",
		ShortNames:    []string{"netpol"},
		Namespaced:    true,
		StoragePrefix: "networkpolicies",
		New:           func() txn.Object { return &networkingv1.NetworkPolicy{} },
		NewList:       func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
		Columns:       []column{nameColumn(), str("Pod-Selector", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"]), ageColumn()},
		Row: row(func(o *networkingv1.NetworkPolicy, now time.Time) []any {
			return []any{o.Name, selectorText(&o.Spec.PodSelector), age(o, now)}
		}),
	}
}
