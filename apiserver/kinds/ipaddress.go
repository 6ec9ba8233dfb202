package kinds

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	segment "k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
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
			var messages []string
			for _, err := range validation.IsValidIP(nil, name) {
				messages = append(messages, err.Detail)
			}
			return messages
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
	s := strings.ToLower(p.Resource)
	if p.Group != "" {
		s += "." + p.Group
	}
	if p.Namespace != "" {
		s += "/" + p.Namespace
	}
	return s + "/" + p.Name
}

func checkIPAddress(o, old *networkingv1.IPAddress) fieldErrors {
	c := &checker{}
	at := field.NewPath("spec", "parentRef")
	if old != nil {
		if !equality.Semantic.DeepEqual(o.Spec.ParentRef, old.Spec.ParentRef) {
			c.invalid(at, nil, immutable)
		}
	}
	p := o.Spec.ParentRef
	if p == nil {
		c.required(at, "")
		return c.errs
	}
	if p.Group != "" {
		c.dnsSubdomain(at, "group", p.Group)
	}
	c.segment(at, "namespace", p.Namespace)
	for _, f := range [...]struct{ name, value string }{{"resource", p.Resource}, {"name", p.Name}} {
		if f.value == "" {
			c.required(at.Child(f.name), "")
		}
		c.segment(at, f.name, f.value)
	}
	return c.errs
}

// segment checks what becomes a part of a URL's path.
func (c *checker) segment(p *path, name, value string) {
	c.messages(p, name, value, segment.IsValidPathSegmentName(value))
}
