package kinds

import (
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

func checkIngress(o, _ *networkingv1.Ingress) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		c.invalid(p, s.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if s.DefaultBackend != nil {
		c.ingressBackend(p.Child("defaultBackend"), s.DefaultBackend)
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		at := p.Child("rules").Index(i)
		c.ingressHost(at.Child("host"), r.Host)
		if r.HTTP == nil {
			continue
		}
		if len(r.HTTP.Paths) == 0 {
			c.required(at.Child("http", "paths"), "")
		}
		for j := range r.HTTP.Paths {
			c.ingressPath(at.Child("http", "paths").Index(j), &r.HTTP.Paths[j])
		}
	}
	for i := range s.TLS {
		at := p.Child("tls").Index(i)
		for j, h := range s.TLS[i].Hosts {
			c.wildName(at.Child("hosts").Index(j), h)
		}
		if n := s.TLS[i].SecretName; n != "" {
			c.messages(at, "secretName", n, validation.IsDNS1123Subdomain(n))
		}
	}
	if s.IngressClassName != nil {
		c.messages(p, "ingressClassName", *s.IngressClassName, validation.IsDNS1123Subdomain(*s.IngressClassName))
	}
	return c.errs
}

func (c *checker) ingressHost(p *path, host string) {
	if host == "" {
		return
	}
	if _, err := netip.ParseAddr(host); err == nil {
		c.invalid(p, host, "must be a DNS name, not an IP address")
	}
	c.wildName(p, host)
}

// wildName checks a name that may begin with a wildcard.
func (c *checker) wildName(p *path, host string) {
	check := validation.IsDNS1123Subdomain
	if strings.Contains(host, "*") {
		check = validation.IsWildcardDNS1123Subdomain
	}
	for _, m := range check(host) {
		c.invalid(p, host, m)
	}
}

func (c *checker) ingressPath(p *path, o *networkingv1.HTTPIngressPath) {
	if o.PathType == nil {
		c.required(p.Child("pathType"), "pathType must be specified")
		return
	}
	at := p.Child("path")
	switch *o.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !strings.HasPrefix(o.Path, "/") {
			c.invalid(at, o.Path, "must be an absolute path")
		}
		for _, s := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(o.Path, s) {
				c.invalid(at, o.Path, "must not contain '"+s+"'")
			}
		}
		for _, s := range []string{"/..", "/."} {
			if strings.HasSuffix(o.Path, s) {
				c.invalid(at, o.Path, "cannot end with '"+s+"'")
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if o.Path != "" && !strings.HasPrefix(o.Path, "/") {
			c.invalid(at, o.Path, "must be an absolute path")
		}
	default:
		c.add(field.NotSupported(p.Child("pathType"), *o.PathType, []networkingv1.PathType{
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix,
		}))
	}
	c.ingressBackend(p.Child("backend"), &o.Backend)
}

func (c *checker) ingressBackend(p *path, b *networkingv1.IngressBackend) {
	switch {
	case b.Service != nil && b.Resource != nil:
		c.invalid(p, "", "cannot set both resource and service backends")
	case b.Service == nil && b.Resource == nil:
		c.invalid(p, "", "resource or service backend is required")
	case b.Resource != nil:
		c.someResource(p.Child("resource"), b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name)
	default:
		at := p.Child("service")
		c.dnsLabel(at, "name", b.Service.Name)
		port := b.Service.Port
		switch {
		case port.Name != "" && port.Number != 0:
			c.invalid(p, "", "cannot set both port name & port number")
		case port.Name != "":
			c.messages(at.Child("port"), "name", port.Name, validation.IsValidPortName(port.Name))
		case port.Number != 0:
			c.port(at.Child("port"), "number", port.Number)
		default:
			c.required(p, "port name or number is required")
		}
	}
}

// someResource checks a reference to an object of any kind.
func (c *checker) someResource(p *path, group *string, kindName, name string) {
	if group != nil {
		c.messages(p, "apiGroup", *group, validation.IsDNS1123Subdomain(*group))
	}
	for _, part := range [...]struct{ name, value string }{{"kind", kindName}, {"name", name}} {
		if part.value == "" {
			c.required(p.Child(part.name), "")
		} else {
			c.messages(p, part.name, part.value, content.IsPathSegmentName(part.value))
		}
	}
}

func checkIngressStatus(o, old *networkingv1.Ingress) fieldErrors {
	c := &checker{}
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		before = append(before, in.IP)
	}
	for i, in := range o.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(i)
		if in.IP != "" {
			c.add(validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, true, before)...)
		}
		if in.Hostname == "" {
			continue
		}
		c.messages(at, "hostname", in.Hostname, validation.IsDNS1123Subdomain(in.Hostname))
		if netutils.ParseIPSloppy(in.Hostname) != nil {
			c.invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
		}
	}
	return c.errs
}

// maxControllerName is how long the name of a class's controller may be.
const maxControllerName = 250

func checkIngressClass(o, old *networkingv1.IngressClass) fieldErrors {
	c := &checker{}
	p := field.NewPath("spec")
	if o.Spec.Controller == "" {
		c.required(p.Child("controller"), "")
	} else {
		if len(o.Spec.Controller) > maxControllerName {
			c.add(field.TooLong(p.Child("controller"), "", maxControllerName))
		}
		c.add(validation.IsDomainPrefixedPath(p.Child("controller"), o.Spec.Controller)...)
	}
	if r := o.Spec.Parameters; r != nil {
		at := p.Child("parameters")
		c.someResource(at, r.APIGroup, r.Kind, r.Name)
		oneOfPtr(c, at, "scope", r.Scope, networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
		switch deref(r.Scope, "") {
		case networkingv1.IngressClassParametersReferenceScopeNamespace:
			if r.Namespace == nil {
				c.required(at.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
			} else {
				c.messages(at, "namespace", *r.Namespace, validation.IsDNS1123Label(*r.Namespace))
			}
		case networkingv1.IngressClassParametersReferenceScopeCluster:
			if r.Namespace != nil {
				c.forbidden(at.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
			}
		}
	}
	if old != nil {
		same(c, p, "controller", o.Spec.Controller, old.Spec.Controller)
	}
	return c.errs
}
