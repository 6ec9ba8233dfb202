package kinds

import (
	"net/netip"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

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
		Name: func(name string, _ bool) []string {
			if ip, err := netip.ParseAddr(name); err != nil || ip.String() != name {
				return []string{"must be an IP address in canonical form"}
			}
			return nil
		},
		Validate: validate(checkIPAddress),
		Columns:  []column{nameColumn(), str("ParentRef", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"]), ageColumn()},
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

func checkIPAddress(o, old *networkingv1.IPAddress) field.ErrorList {
	at := field.NewPath("spec", "parentRef")
	if old != nil {
		return apivalidation.ValidateImmutableField(o.Spec.ParentRef, old.Spec.ParentRef, at)
	}
	p := o.Spec.ParentRef
	if p == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if p.Resource == "" {
		errs = append(errs, field.Required(at.Child("resource"), ""))
	}
	if p.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	return errs
}
