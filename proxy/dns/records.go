package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// recordsOf makes all records of a Service, by name.
func recordsOf(domain string, service *corev1.Service, endpoints []*discoveryv1.EndpointSlice) map[string][]dns.RR {
	r := &records{base: service.Name + "." + service.Namespace + ".svc." + domain, byName: map[string][]dns.RR{}}
	r.byName[r.base] = nil // it is there also while it has no endpoints
	switch {
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		r.add(r.base, &dns.CNAME{Hdr: header(r.base, dns.TypeCNAME), Target: dns.Fqdn(service.Spec.ExternalName)})
	case service.Spec.ClusterIP == corev1.ClusterIPNone:
		r.headless(service, endpoints)
	default:
		r.clusterIP(service)
	}
	return r.byName
}

type records struct {
	base   string // the Service's own name
	byName map[string][]dns.RR
}

func (r *records) add(name string, rr dns.RR) {
	if !slices.ContainsFunc(r.byName[name], func(have dns.RR) bool { return dns.IsDuplicate(have, rr) }) {
		r.byName[name] = append(r.byName[name], rr)
	}
}

func (r *records) clusterIP(service *corev1.Service) {
	ips := service.Spec.ClusterIPs
	if len(ips) == 0 && service.Spec.ClusterIP != "" {
		ips = []string{service.Spec.ClusterIP}
	}
	for _, text := range ips {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		r.add(r.base, addressRecord(r.base, ip))
		r.reverse(ip, r.base)
	}
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		r.service(p.Name, p.Protocol, uint16(p.Port), r.base)
	}
}

func (r *records) headless(service *corev1.Service, all []*discoveryv1.EndpointSlice) {
	for _, slice := range all {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if !ready && !service.Spec.PublishNotReadyAddresses {
				continue
			}
			for _, text := range e.Addresses {
				ip, err := netip.ParseAddr(text)
				if err != nil {
					continue
				}
				r.add(r.base, addressRecord(r.base, ip))
				host := label(e, ip) + "." + r.base
				r.add(host, addressRecord(host, ip))
				if e.Hostname != nil && *e.Hostname != "" {
					r.reverse(ip, host)
				}
				for j := range slice.Ports {
					if p := &slice.Ports[j]; p.Name != nil && p.Protocol != nil && p.Port != nil {
						r.service(*p.Name, *p.Protocol, uint16(*p.Port), host)
					}
				}
			}
		}
	}
}

// label is an endpoint's own name: its hostname, or one made of its address.
func label(e *discoveryv1.Endpoint, ip netip.Addr) string {
	if e.Hostname != nil && *e.Hostname != "" {
		return *e.Hostname
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(ip.String())
}

func (r *records) service(port string, protocol corev1.Protocol, number uint16, target string) {
	if port == "" {
		return
	}
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	name := "_" + port + "._" + strings.ToLower(string(protocol)) + "." + r.base
	r.add(name, &dns.SRV{Hdr: header(name, dns.TypeSRV), Priority: 0, Weight: 100, Port: number, Target: target})
}

func (r *records) reverse(ip netip.Addr, target string) {
	if name, err := dns.ReverseAddr(ip.String()); err == nil {
		r.add(name, &dns.PTR{Hdr: header(name, dns.TypePTR), Ptr: target})
	}
}

func addressRecord(name string, ip netip.Addr) dns.RR {
	if ip.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA), A: ip.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: ip.AsSlice()}
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: TTL}
}
