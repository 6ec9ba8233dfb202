package kinds

import (
	corev1 "k8s.io/api/core/v1"
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
		Default:       defaults(defaultNetworkPolicy),
		Prepare: prepare(func(o, old *networkingv1.NetworkPolicy) {
			countSpecs(o, untyped(old), &o.Spec, func() any { return &old.Spec })
		}),
		Validate: validate(checkNetworkPolicy),
		Warnings: warnings(networkPolicyWarnings),
		Columns:  []column{nameColumn(), str("Pod-Selector", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"]), ageColumn()},
		Row: row(func(o *networkingv1.NetworkPolicy, now time.Time) []any {
			return []any{o.Name, selectorText(&o.Spec.PodSelector), age(o, now)}
		}),
	}
}

func defaultNetworkPolicy(o *networkingv1.NetworkPolicy) {
	for i := range o.Spec.Ingress {
		defaultPolicyPorts(o.Spec.Ingress[i].Ports)
	}
	for i := range o.Spec.Egress {
		defaultPolicyPorts(o.Spec.Egress[i].Ports)
	}
	if len(o.Spec.PolicyTypes) == 0 {
		o.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(o.Spec.Egress) > 0 {
			o.Spec.PolicyTypes = append(o.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

func defaultPolicyPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		setDefaultPtr(&ports[i].Protocol, corev1.ProtocolTCP)
	}
}
