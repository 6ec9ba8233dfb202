package dns_test

import (
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	testclock "k8s.io/utils/clock/testing"

	headwaydns "github.com/headway-sh/headway/proxy/dns"
)

// resolver is an upstream that counts.
type resolver struct {
	address string
	asked   atomic.Int32
	code    atomic.Int32
}

func startResolver(t *testing.T, code int) *resolver {
	t.Helper()
	packet, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &resolver{address: packet.LocalAddr().String()}
	r.code.Store(int32(code))
	server := &dns.Server{PacketConn: packet, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r.asked.Add(1)
		reply := new(dns.Msg).SetRcode(q, int(r.code.Load()))
		name := q.Question[0].Name
		switch {
		case reply.Rcode == dns.RcodeNameError:
			reply.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 600}, Ns: "ns.", Mbox: "a.", Minttl: 20}}
		case reply.Rcode == dns.RcodeSuccess:
			reply.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 100}, A: net.IPv4(192, 0, 2, 1)}}
		}
		if err := w.WriteMsg(reply); err != nil {
			t.Error(err)
		}
	})}
	started, done := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return r
}

func forwarder(t *testing.T, clock *testclock.FakeClock, upstreams ...string) string {
	t.Helper()
	return startConfig(t, headwaydns.Config{Zone: zone(), Upstreams: upstreams, Clock: clock, Logger: slog.New(slog.DiscardHandler)})
}

func TestUpstreamAnswersAreKept(t *testing.T) {
	t.Parallel()
	clock := testclock.NewFakeClock(time.Unix(1_800_000_000, 0))
	up := startResolver(t, dns.RcodeSuccess)
	server := forwarder(t, clock, up.address)
	q := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	for _, step := range []struct {
		name    string
		advance time.Duration
		code    int
		ttl     uint32
		asked   int32
		answer  int
	}{
		{"asked", 0, dns.RcodeSuccess, 100, 1, dns.RcodeSuccess},
		{"kept, and older", 40 * time.Second, dns.RcodeSuccess, 60, 1, dns.RcodeSuccess},
		{"asked again", 61 * time.Second, dns.RcodeSuccess, 100, 2, dns.RcodeSuccess},
		{"stale while the upstream fails", 101 * time.Second, dns.RcodeServerFailure, 5, 3, dns.RcodeSuccess},
		{"not stale forever", 2 * time.Hour, dns.RcodeServerFailure, 0, 4, dns.RcodeServerFailure},
		{"the upstream is back", time.Second, dns.RcodeNameError, 0, 5, dns.RcodeNameError},
		{"a denial is kept", 19 * time.Second, dns.RcodeSuccess, 0, 5, dns.RcodeNameError},
		{"for its own time", 2 * time.Second, dns.RcodeSuccess, 100, 6, dns.RcodeSuccess},
	} {
		clock.Step(step.advance)
		up.code.Store(int32(step.code))
		reply := exchange(t, server, q)
		ttl := uint32(0)
		if len(reply.Answer) > 0 {
			ttl = reply.Answer[0].Header().Ttl
		}
		if reply.Rcode != step.answer || ttl != step.ttl || up.asked.Load() != step.asked {
			t.Errorf("%s: %s, TTL %d, asked %d times", step.name, dns.RcodeToString[reply.Rcode], ttl, up.asked.Load())
		}
		if reply.Authoritative || !reply.RecursionAvailable {
			t.Errorf("%s: authoritative %v, recursion available %v", step.name, reply.Authoritative, reply.RecursionAvailable)
		}
	}
}

func TestNextUpstreamIsAsked(t *testing.T) {
	t.Parallel()
	clock := testclock.NewFakeClock(time.Unix(1_800_000_000, 0))
	broken, fine := startResolver(t, dns.RcodeServerFailure), startResolver(t, dns.RcodeSuccess)
	server := forwarder(t, clock, broken.address, fine.address)
	for _, name := range []string{"a.example.", "b.example.", "c.example."} {
		if _, code := ask(t, server, "udp", name, dns.TypeA); code != dns.RcodeSuccess {
			t.Errorf("%s: %s", name, dns.RcodeToString[code])
		}
	}
	if broken.asked.Load() != 1 || fine.asked.Load() != 3 {
		t.Errorf("the broken one was asked %d times, the other %d times", broken.asked.Load(), fine.asked.Load())
	}
}
