package kinds

import (
	"net/netip"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func serviceCIDRKind() *kind.Kind {
	p := partsOf(func(o *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRSpec { return &o.Spec },
		func(o *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRStatus { return &o.Status })
	return &kind.Kind{
		GVK:           networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"),
		Plural:        "servicecidrs",
		Singular:      "servicecidr",
		StoragePrefix: "servicecidrs",
		New:           func() txn.Object { return &networkingv1.ServiceCIDR{} },
		NewList:       func() runtime.Object { return &networkingv1.ServiceCIDRList{} },
		Prepare:       p.withoutStatus,
		Subresources:  map[string]kind.Subresource{"status": p.bareStatusSubresource(nil)},
		Validate:      validate(checkServiceCIDR),
		Columns:       []column{nameColumn(), str("CIDRs", networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"]), ageColumn()},
		Row: row(func(o *networkingv1.ServiceCIDR, now time.Time) []any {
			return []any{o.Name, strings.Join(o.Spec.CIDRs, ","), age(o, now)}
		}),
	}
}

func checkServiceCIDR(o, old *networkingv1.ServiceCIDR) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec", "cidrs")
	if old != nil {
		was, now := old.Spec.CIDRs, o.Spec.CIDRs
		second := len(was) == 1 && len(now) == 2
		if len(was) != len(now) && !second {
			c.invalid(p, now, immutable)
			return c.errs
		}
		for i := range was {
			if was[i] != now[i] {
				c.invalid(p.Index(i), now[i], immutable)
			}
		}
		if !second {
			return c.errs
		}
		// A second family may come to the first one.
	}
	switch n := len(o.Spec.CIDRs); {
	case n == 0:
		c.required(p, "at least one CIDR required")
	case n > 2:
		c.invalid(p, o.Spec, "may only hold up to 2 values")
		return c.errs
	}
	families := map[bool]bool{}
	for i, text := range o.Spec.CIDRs {
		c.cidr(p.Index(i), text)
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		if families[cidr.Addr().Is4()] {
			c.invalid(p, o.Spec.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96")
		}
		families[cidr.Addr().Is4()] = true
	}
	return c.errs
}
