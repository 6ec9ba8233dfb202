package dns_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	headwaydns "github.com/headway-sh/headway/proxy/dns"
)

// exchange sends a question over UDP and gives the whole answer.
func exchange(t *testing.T, server string, q *dns.Msg) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: "udp", UDPSize: 4096}
	reply, _, err := client.ExchangeContext(t.Context(), q, server)
	if err != nil {
		t.Fatal(err)
	}
	reply.Compress = true // as it came
	return reply
}

// crowd is a headless Service with many endpoints.
func crowd(z *headwaydns.Zone, n int) {
	slice := &discoveryv1.EndpointSlice{}
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.3.%d", i)}})
	}
	set(z, service("crowd", corev1.ClusterIPNone), slice)
}

func TestSizes(t *testing.T) {
	t.Parallel()
	z := zone()
	crowd(z, 60)
	server := start(t, z)
	q := new(dns.Msg).SetQuestion("crowd.shop.svc.cluster.local.", dns.TypeA)
	for range 2 {
		if reply := exchange(t, server, q); !reply.Truncated || reply.Len() > dns.MinMsgSize || reply.IsEdns0() != nil {
			t.Errorf("without EDNS: truncated %v, %d bytes, EDNS %v", reply.Truncated, reply.Len(), reply.IsEdns0())
		}
	}
	q.SetEdns0(4096, false)
	for range 2 {
		if reply := exchange(t, server, q); reply.Truncated || len(reply.Answer) != 60 || reply.IsEdns0() == nil {
			t.Errorf("with EDNS: truncated %v, %d answers, EDNS %v", reply.Truncated, len(reply.Answer), reply.IsEdns0())
		}
	}
	if values, _ := ask(t, server, "tcp", "crowd.shop.svc.cluster.local.", dns.TypeA); strings.Count(values, "|") != 59 {
		t.Errorf("over TCP: %s", values)
	}
}

func TestOrdersTakeTurns(t *testing.T) {
	t.Parallel()
	z := zone()
	crowd(z, 3)
	server := start(t, z)
	first := map[string]bool{}
	for range 12 {
		first[exchange(t, server, new(dns.Msg).SetQuestion("crowd.shop.svc.cluster.local.", dns.TypeA)).Answer[0].String()] = true
	}
	if len(first) != 3 {
		t.Errorf("addresses that came first: %v", first)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	server := start(t, zone())
	for name, c := range map[string]struct {
		question string
		edit     func(*dns.Msg)
		want     func(*dns.Msg) bool
	}{
		"spelled as asked": {"wEb.Shop.svc.CLUSTER.local.", nil, func(m *dns.Msg) bool {
			return m.Question[0].Name == "wEb.Shop.svc.CLUSTER.local." && m.Answer[0].Header().Name == "wEb.Shop.svc.CLUSTER.local." && m.Authoritative && m.RecursionDesired
		}},
		"recursion not desired": {"web.shop.svc.cluster.local.", func(m *dns.Msg) { m.RecursionDesired = false }, func(m *dns.Msg) bool { return !m.RecursionDesired && len(m.Answer) == 1 }},
		"denial has a SOA": {"no.shop.svc.cluster.local.", nil, func(m *dns.Msg) bool {
			return m.Rcode == dns.RcodeNameError && len(m.Ns) == 1 && m.Ns[0].(*dns.SOA).Hdr.Name == "cluster.local."
		}},
		"no data has a SOA":   {"shop.svc.cluster.local.", nil, func(m *dns.Msg) bool { return m.Rcode == 0 && len(m.Ns) == 1 }},
		"names in a circle":   {"tick.shop.svc.cluster.local.", nil, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeServerFailure }},
		"another class":       {"web.shop.svc.cluster.local.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeNotImplemented }},
		"another operation":   {"web.shop.svc.cluster.local.", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeNotImplemented }},
		"no question":         {"", func(m *dns.Msg) { m.Question = nil }, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeFormatError }},
		"a later EDNS":        {"web.shop.svc.cluster.local.", func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeBadVers }},
		"SRV names addresses": {"_http._tcp.web.shop.svc.cluster.local.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeSRV }, func(m *dns.Msg) bool { return len(m.Extra) == 1 && m.Extra[0].(*dns.A).A.String() == "10.96.0.20" }},
	} {
		for range 2 {
			q := new(dns.Msg).SetQuestion(c.question, dns.TypeA)
			if c.edit != nil {
				c.edit(q)
			}
			if reply := exchange(t, server, q); reply.Id != q.Id || !c.want(reply) {
				t.Errorf("%s:\n%v", name, reply)
			}
		}
	}
}

func TestNothingIsDeniedBeforeItIsKnown(t *testing.T) {
	t.Parallel()
	z := headwaydns.NewZone("cluster.local")
	server := start(t, z)
	if _, code := ask(t, server, "udp", "web.shop.svc.cluster.local.", dns.TypeA); code != dns.RcodeServerFailure {
		t.Errorf("before: %s", dns.RcodeToString[code])
	}
	z.Ready()
	if _, code := ask(t, server, "udp", "web.shop.svc.cluster.local.", dns.TypeA); code != dns.RcodeNameError {
		t.Errorf("after: %s", dns.RcodeToString[code])
	}
	set(z, service("web", "10.96.0.20"))
	if got, _ := ask(t, server, "udp", "web.shop.svc.cluster.local.", dns.TypeA); got != "10.96.0.20" {
		t.Errorf("a new service: %q", got)
	}
}

func TestRubbishIsNotAnswered(t *testing.T) {
	t.Parallel()
	server := start(t, zone())
	conn, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion("web.shop.svc.cluster.local.", dns.TypeA))
	packed, err := answer.Pack()
	if err != nil {
		t.Fatal(err)
	}
	query, err := new(dns.Msg).SetQuestion("web.shop.svc.cluster.local.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, packet := range [][]byte{{}, {1, 2, 3}, packed, query} {
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	buffer := make([]byte, 512)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	if string(buffer[:2]) != string(query[:2]) {
		t.Errorf("the first answer is to something else: %x", buffer[:n])
	}
}
