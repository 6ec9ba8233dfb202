package kinds

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func ipAddressKind() *kind.Kind {
	return &kind.Kind{
		GVK:           networkingv1.SchemeGroupVersion.WithKind("IPAddress"),
		Plural:        "ipaddresses",
		Singular:      "ipaddress",
		ShortNames:    []string{"ip"},
		StoragePrefix: "ipaddresses",
		New:           func() txn.Object { return &networkingv1.IPAddress{} },
		NewList:       func() runtime.Object { return &networkingv1.IPAddressList{} },
		Columns:       []column{nameColumn(), str("ParentRef", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"]), ageColumn()},
		Row: row(func(o *networkingv1.IPAddress, now time.Time) []any {
			return []any{o.Name, parentText(o.Spec.ParentRef), age(o, now)}
		}),
	}
}

// parentText is resource.group/namespace/name without its empty parts.
func parentText(p *networkingv1.ParentReference) string {
	if p == nil {
		return none
	}
	s := p.Resource
	if p.Group != "" {
		s += "." + p.Group
	}
	if p.Namespace != "" {
		s += "/" + p.Namespace
	}
	return s + "/" + p.Name
}
