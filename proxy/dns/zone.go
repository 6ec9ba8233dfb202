package dns

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TTL of every record, in seconds. Short, because endpoints come and go.
const TTL = 5

// schemaVersion is the specification's, which dns-version.DOMAIN tells.
const schemaVersion = "1.1.0"

// Zone is the cluster's domain. It is safe for concurrent use.
type Zone struct {
	domain string // "cluster.local."
	// version counts changes; zero: what Services there are is not known yet.
	version atomic.Uint64

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
	z := &Zone{domain: dns.CanonicalName(domain), names: map[string]*node{},
		services: map[types.NamespacedName]map[string][]dns.RR{}, namespaces: map[string]int{}}
	// These are there without any Service, and nobody's to drop.
	version := "dns-version." + z.domain
	z.node(version).records[types.NamespacedName{}] = []dns.RR{&dns.TXT{Hdr: header(version, dns.TypeTXT), Txt: []string{schemaVersion}}}
	for _, name := range []string{z.domain, "svc." + z.domain, "pod." + z.domain} {
		z.node(name).records[types.NamespacedName{}] = nil
	}
	return z
}

// Ready says that every Service has been set once: before, names of the domain
// are not denied.
func (z *Zone) Ready() { z.version.Add(1) }

// Set replaces the records of one Service; nil: the Service is gone.
func (z *Zone) Set(key types.NamespacedName, service *corev1.Service, endpoints []*discoveryv1.EndpointSlice) {
	var records map[string][]dns.RR
	if service != nil {
		records = recordsOf(z.domain, service, endpoints)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	old, ok := z.services[key]
	same := func(a, b []dns.RR) bool { return slices.EqualFunc(a, b, dns.IsDuplicate) }
	if ok == (service != nil) && maps.EqualFunc(old, records, same) {
		return // most endpoints are a cluster IP's, whose records do not tell of them
	}
	if z.version.Load() > 0 {
		defer z.version.Add(1)
	}
	if ok {
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
		answer, exists = z.podRecord(name, qtype)
		return answer, exists, inZone
	}
	if !inZone && len(n.records) == 0 {
		return nil, false, false // above a reverse record: not for us to deny
	}
	for _, rrs := range n.records {
		for _, rr := range rrs {
			if kind := rr.Header().Rrtype; kind == qtype || kind == dns.TypeCNAME || qtype == dns.TypeANY {
				answer = append(answer, rr)
			}
		}
	}
	if name == z.domain && (qtype == dns.TypeSOA || qtype == dns.TypeANY) {
		answer = append(answer, z.soa())
	}
	return answer, true, true
}

// soa goes with every denial, for how long it may be believed.
func (z *Zone) soa() dns.RR {
	return &dns.SOA{Hdr: header(z.domain, dns.TypeSOA), Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: uint32(z.version.Load()), Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: TTL}
}

// podRecord answers a-b-c-d.NAMESPACE.pod.DOMAIN with the address a.b.c.d.
func (z *Zone) podRecord(name string, qtype uint16) ([]dns.RR, bool) {
	rest, ok := strings.CutSuffix(name, ".pod."+z.domain)
	if !ok {
		return nil, false
	}
	label, namespace, ok := strings.Cut(rest, ".")
	if !ok {
		return nil, z.namespaces[rest] > 0 // a namespace's own name
	}
	if z.namespaces[namespace] == 0 {
		return nil, false
	}
	ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", "."))
	if err != nil {
		if ip, err = netip.ParseAddr(strings.ReplaceAll(label, "-", ":")); err != nil {
			return nil, false
		}
	}
	if ip.Zone() != "" {
		return nil, false
	}
	rr := addressRecord(name, ip)
	if rr.Header().Rrtype != qtype && qtype != dns.TypeANY {
		return nil, true
	}
	return []dns.RR{rr}, true
}
