package dns_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	headwaydns "github.com/headway-sh/headway/proxy/dns"
)

func service(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}}}
}

func set(z *headwaydns.Zone, s *corev1.Service, slices ...*discoveryv1.EndpointSlice) {
	z.Set(types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, s, slices)
}

func zone() *headwaydns.Zone {
	z := headwaydns.NewZone("cluster.local")
	set(z, service("web", "10.96.0.20"))
	set(z, service("db", corev1.ClusterIPNone), &discoveryv1.EndpointSlice{
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To[int32](5432)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.5"}, Hostname: ptr.To("db-0")},
			{Addresses: []string{"10.244.0.6"}},
			{Addresses: []string{"10.244.0.7"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
		}})
	external := service("ext", "")
	external.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.shop.svc.cluster.local"}
	set(z, external)
	chained := service("chain", "")
	chained.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "ext.shop.svc.cluster.local"}
	set(z, chained)
	for a, b := range map[string]string{"tick": "tock", "tock": "tick"} {
		circle := service(a, "")
		circle.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: b + ".shop.svc.cluster.local"}
		set(z, circle)
	}
	nowhere := service("nowhere", "")
	nowhere.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "gone.shop.svc.cluster.local"}
	set(z, nowhere)
	www := service("www", "")
	www.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.shop.svc.example"}
	set(z, www)
	set(z, service("idle", corev1.ClusterIPNone))
	eager := service("eager", corev1.ClusterIPNone)
	eager.Spec.PublishNotReadyAddresses = true
	set(z, eager, &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.8"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}}}})
	both := service("both", "10.96.0.30")
	both.Spec.ClusterIPs = []string{"10.96.0.30", "fd00::30"}
	set(z, both)
	z.Ready()
	return z
}

// ask gives the answer's values, sorted, and the response code.
func ask(t *testing.T, server, network, name string, qtype uint16) (string, int) {
	t.Helper()
	client := dns.Client{Net: network}
	reply, _, err := client.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(name, qtype), server)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var values []string
	for _, rr := range reply.Answer {
		values = append(values, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(values)
	return strings.Join(values, " | "), reply.Rcode
}

// start runs a server on loopback until the test ends.
func start(t *testing.T, z *headwaydns.Zone, upstreams ...string) string {
	t.Helper()
	return startConfig(t, headwaydns.Config{Zone: z, Upstreams: upstreams, Logger: slog.New(slog.DiscardHandler)})
}

// listen takes a port that is free for both protocols: one that is for UDP may be
// somebody's connection over TCP.
func listen(t testing.TB) (*net.UDPConn, net.Listener) {
	t.Helper()
	for tries := 1; ; tries++ {
		packet, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		stream, err := net.Listen("tcp", packet.LocalAddr().String())
		if err == nil {
			return packet, stream
		}
		_ = packet.Close()
		if tries == 20 {
			t.Fatal(err)
		}
	}
}

func startConfig(t testing.TB, config headwaydns.Config) string {
	t.Helper()
	packet, stream := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		config.Packet, config.Stream = packet, stream
		done <- headwaydns.NewServer(config).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return packet.LocalAddr().String()
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	upstream := headwaydns.NewZone("example")
	upstream.Set(types.NamespacedName{Namespace: "org", Name: "www"}, service("www", "192.0.2.7"), nil)
	upstream.Ready()
	server := start(t, zone(), start(t, upstream))
	const nx = dns.RcodeNameError
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
		code  int
	}{
		{"web.shop.svc.cluster.local.", dns.TypeA, "10.96.0.20", 0},
		{"WEB.shop.svc.cluster.local.", dns.TypeA, "10.96.0.20", 0},
		{"web.shop.svc.cluster.local.", dns.TypeAAAA, "", 0},
		{"_http._tcp.web.shop.svc.cluster.local.", dns.TypeSRV, "0 100 80 web.shop.svc.cluster.local.", 0},
		{"20.0.96.10.in-addr.arpa.", dns.TypePTR, "web.shop.svc.cluster.local.", 0},
		{"db.shop.svc.cluster.local.", dns.TypeA, "10.244.0.5 | 10.244.0.6", 0},
		{"db-0.db.shop.svc.cluster.local.", dns.TypeA, "10.244.0.5", 0},
		{"10-244-0-6.db.shop.svc.cluster.local.", dns.TypeA, "10.244.0.6", 0},
		{"ext.shop.svc.cluster.local.", dns.TypeA, "10.96.0.20 | web.shop.svc.cluster.local.", 0},
		{"10-1-2-3.shop.pod.cluster.local.", dns.TypeA, "10.1.2.3", 0},
		{"10-1-2-3.none.pod.cluster.local.", dns.TypeA, "", nx},
		{"nobody.shop.svc.cluster.local.", dns.TypeA, "", nx},
		{"cluster.local.", dns.TypeA, "", 0},
		{"svc.cluster.local.", dns.TypeA, "", 0},
		{"pod.cluster.local.", dns.TypeA, "", 0},
		{"shop.pod.cluster.local.", dns.TypeA, "", 0},
		{"none.pod.cluster.local.", dns.TypeA, "", nx},
		{"wrong.cluster.local.", dns.TypeA, "", nx},
		{"dns-version.cluster.local.", dns.TypeTXT, `"1.1.0"`, 0},
		{"_tcp.web.shop.svc.cluster.local.", dns.TypeA, "", 0},
		{"_http._tcp.db.shop.svc.cluster.local.", dns.TypeSRV, "0 100 5432 10-244-0-6.db.shop.svc.cluster.local. | 0 100 5432 db-0.db.shop.svc.cluster.local.", 0},
		{"_http._udp.web.shop.svc.cluster.local.", dns.TypeSRV, "", nx},
		{"5.0.244.10.in-addr.arpa.", dns.TypePTR, "db-0.db.shop.svc.cluster.local.", 0},
		{"idle.shop.svc.cluster.local.", dns.TypeA, "", 0},
		{"eager.shop.svc.cluster.local.", dns.TypeA, "10.244.0.8", 0},
		{"10-244-0-7.db.shop.svc.cluster.local.", dns.TypeA, "", nx},
		{"both.shop.svc.cluster.local.", dns.TypeAAAA, "fd00::30", 0},
		{"0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, "both.shop.svc.cluster.local.", 0},
		{"chain.shop.svc.cluster.local.", dns.TypeA, "10.96.0.20 | ext.shop.svc.cluster.local. | web.shop.svc.cluster.local.", 0},
		{"chain.shop.svc.cluster.local.", dns.TypeCNAME, "ext.shop.svc.cluster.local.", 0},
		{"nowhere.shop.svc.cluster.local.", dns.TypeA, "gone.shop.svc.cluster.local.", nx},
		{"www.shop.svc.cluster.local.", dns.TypeA, "192.0.2.7 | www.shop.svc.example.", 0},
		{"shop.svc.cluster.local.", dns.TypeA, "", 0},
		{"other.svc.cluster.local.", dns.TypeA, "", nx},
		{"www.shop.svc.example.", dns.TypeA, "192.0.2.7", 0},
	} {
		for _, network := range []string{"udp", "tcp", "udp"} { // the last one is answered from what is ready
			if got, code := ask(t, server, network, c.name, c.qtype); got != c.want || code != c.code {
				t.Errorf("%s %s over %s: %q (%s), want %q (%s)", c.name, dns.TypeToString[c.qtype], network, got, dns.RcodeToString[code], c.want, dns.RcodeToString[c.code])
			}
		}
	}
}

func TestNoUpstreamRefuses(t *testing.T) {
	t.Parallel()
	if _, code := ask(t, start(t, zone()), "udp", "www.example.org.", dns.TypeA); code != dns.RcodeRefused {
		t.Errorf("code %s", dns.RcodeToString[code])
	}
}

func TestGoneServiceLeavesNothing(t *testing.T) {
	t.Parallel()
	z := zone()
	for _, name := range []string{"web", "db", "ext", "chain", "tick", "tock", "nowhere", "www", "idle", "eager", "both"} {
		z.Set(types.NamespacedName{Namespace: "shop", Name: name}, nil, nil)
	}
	for _, name := range []string{"web.shop.svc.cluster.local.", "shop.svc.cluster.local.", "db-0.db.shop.svc.cluster.local."} {
		if rrs, exists, ours := z.Lookup(name, dns.TypeA); exists || !ours || len(rrs) > 0 {
			t.Errorf("%s: %v, exists %v, ours %v", name, rrs, exists, ours)
		}
	}
	if _, _, ours := z.Lookup("20.0.96.10.in-addr.arpa.", dns.TypePTR); ours {
		t.Error("a reverse name of a gone service is still answered")
	}
}

func BenchmarkLookup(b *testing.B) {
	z := zone()
	for b.Loop() {
		z.Lookup("web.shop.svc.cluster.local.", dns.TypeA)
	}
}
