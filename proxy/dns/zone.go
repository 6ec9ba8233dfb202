package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TTL of every record, in seconds. Short, because endpoints come and go.
const TTL = 5

// Zone is the cluster's domain. It is safe for concurrent use.
type Zone struct {
	domain string // "cluster.local."

	mu       sync.RWMutex // guards what follows
	names    map[string]*node
	services map[types.NamespacedName]map[string][]dns.RR
	// namespaces counts the services in each, because a namespace's name exists
	// while something is in it.
	namespaces map[string]int
}

// node is one name: the records that each Service gives it.
type node struct {
	records map[types.NamespacedName][]dns.RR
	// below counts the names under it, so that an empty inner name exists
	// (NODATA, not NXDOMAIN; RFC 8020).
	below int
}

// NewZone returns an empty zone for a domain such as "cluster.local".
func NewZone(domain string) *Zone {
	return &Zone{domain: dns.CanonicalName(domain), names: map[string]*node{},
		services: map[types.NamespacedName]map[string][]dns.RR{}, namespaces: map[string]int{}}
}

// Set replaces the records of one Service; nil: the Service is gone.
func (z *Zone) Set(key types.NamespacedName, service *corev1.Service, endpoints []*discoveryv1.EndpointSlice) {
	var records map[string][]dns.RR
	if service != nil {
		records = recordsOf(z.domain, service, endpoints)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if old, ok := z.services[key]; ok {
		for name := range old {
			z.drop(name, key)
		}
		delete(z.services, key)
		if z.namespaces[key.Namespace]--; z.namespaces[key.Namespace] == 0 {
			delete(z.namespaces, key.Namespace)
		}
	}
	if service == nil {
		return
	}
	z.services[key] = records
	z.namespaces[key.Namespace]++
	for name, rrs := range records {
		z.node(name).records[key] = rrs
	}
}

// node finds or makes a name and the names above it.
func (z *Zone) node(name string) *node {
	if n := z.names[name]; n != nil {
		return n
	}
	n := &node{records: map[types.NamespacedName][]dns.RR{}}
	z.names[name] = n
	if up := parent(name); up != "." {
		z.node(up).below++
	}
	return n
}

// drop takes a Service's records from a name, and the name itself when nothing
// is at it or below it any more.
func (z *Zone) drop(name string, key types.NamespacedName) {
	n := z.names[name]
	if n == nil {
		return
	}
	delete(n.records, key)
	for n != nil && len(n.records) == 0 && n.below == 0 {
		delete(z.names, name)
		if name = parent(name); name == "." {
			return
		}
		if n = z.names[name]; n != nil {
			n.below--
		}
	}
}

func parent(name string) string {
	if i, end := dns.NextLabel(name, 0); !end {
		return name[i:]
	}
	return "."
}

// Lookup answers a question. ours tells whether the zone is responsible for
// the name at all, exists whether the name is there (perhaps without records
// of the type).
func (z *Zone) Lookup(name string, qtype uint16) (answer []dns.RR, exists, ours bool) {
	name = dns.CanonicalName(name)
	z.mu.RLock()
	defer z.mu.RUnlock()
	n, ok := z.names[name]
	inZone := dns.IsSubDomain(z.domain, name)
	if !ok {
		if rr, found := z.podRecord(name, qtype); found {
			return rr, true, true
		}
		return nil, name == z.domain, inZone
	}
	if !inZone && len(n.records) == 0 {
		return nil, false, false // above a reverse record: not for us to deny
	}
	for _, rrs := range n.records {
		for _, rr := range rrs {
			if rr.Header().Rrtype == qtype || rr.Header().Rrtype == dns.TypeCNAME {
				answer = append(answer, rr)
			}
		}
	}
	return answer, true, true
}

// podRecord answers a-b-c-d.NAMESPACE.pod.DOMAIN with the address a.b.c.d.
func (z *Zone) podRecord(name string, qtype uint16) ([]dns.RR, bool) {
	rest, ok := strings.CutSuffix(name, ".pod."+z.domain)
	if !ok {
		return nil, false
	}
	label, namespace, ok := strings.Cut(rest, ".")
	if !ok || z.namespaces[namespace] == 0 {
		return nil, false
	}
	ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", "."))
	if err != nil {
		if ip, err = netip.ParseAddr(strings.ReplaceAll(label, "-", ":")); err != nil {
			return nil, false
		}
	}
	rr := addressRecord(name, ip)
	if rr.Header().Rrtype != qtype {
		return nil, true
	}
	return []dns.RR{rr}, true
}

// recordsOf makes all records of a Service, by name.
func recordsOf(domain string, service *corev1.Service, endpoints []*discoveryv1.EndpointSlice) map[string][]dns.RR {
	r := &records{base: service.Name + "." + service.Namespace + ".svc." + domain, byName: map[string][]dns.RR{}}
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
