package kinds

import (
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func ingressKind() *kind.Kind {
	p := partsOf(func(o *networkingv1.Ingress) *networkingv1.IngressSpec { return &o.Spec }, func(o *networkingv1.Ingress) *networkingv1.IngressStatus { return &o.Status })
	doc := networkingv1.IngressSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           networkingv1.SchemeGroupVersion.WithKind("Ingress"),
		Plural:        "ingresses",
		Singular:      "ingress",
		ShortNames:    []string{"ing"},
		Namespaced:    true,
		StoragePrefix: "ingress",
		New:           func() txn.Object { return &networkingv1.Ingress{} },
		NewList:       func() runtime.Object { return &networkingv1.IngressList{} },
		Prepare:       p.main,
		Subresources:  map[string]kind.Subresource{"status": p.statusSubresource(checkIngressStatus)},
		Validate:      validate(checkIngress),
		Columns: []column{
			nameColumn(), str("Class", doc["ingressClassName"]), str("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
			str("Address", "Address is a list containing ingress points for the load-balancer"),
			str("Ports", "Ports of TLS configurations that open"), ageColumn(),
		},
		Row: row(ingressRow),
	}
}

func ingressRow(o *networkingv1.Ingress, now time.Time) []any {
	var hosts, addresses []string
	for _, r := range o.Spec.Rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	host := "*"
	if len(hosts) > 0 {
		host = firstOf(3, hosts)
	}
	for _, in := range o.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			addresses = append(addresses, in.IP)
		} else if in.Hostname != "" {
			addresses = append(addresses, in.Hostname)
		}
	}
	slices.Sort(addresses)
	ports := "80"
	if len(o.Spec.TLS) > 0 {
		ports = "80, 443"
	}
	return []any{o.Name, deref(o.Spec.IngressClassName, none), host, strings.Join(slices.Compact(addresses), ","), ports, age(o, now)}
}
