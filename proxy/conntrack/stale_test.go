package conntrack_test

import (
	"net/netip"
	"testing"

	"github.com/headway-sh/headway/proxy/backendtest"
	"github.com/headway-sh/headway/proxy/conntrack"
	"github.com/headway-sh/headway/proxy/model"
	"github.com/headway-sh/headway/proxy/rules"
)

func TestStale(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort
	p := model.ServicePort{Service: "dns", Protocol: "udp", ClusterIP: netip.MustParseAddr("10.96.0.9"), Number: 53, NodePort: 30053,
		ExternalLocal: true, Cluster: []netip.AddrPort{at("10.244.0.5:5353"), at("10.244.1.5:5353")}, Local: []netip.AddrPort{at("10.244.0.5:5353")}}
	other := p
	other.Protocol, other.ClusterIP = "tcp", netip.MustParseAddr("10.96.0.10")
	rows := rules.UpdateOf("x", []model.ServicePort{p, other}, nil).Rows
	stale := conntrack.Stale(rows)
	for name, c := range map[string]struct {
		asked, answers string
		want           bool
	}{
		"an endpoint":                       {"10.96.0.9:53", "10.244.1.5:5353", false},
		"one that is gone":                  {"10.96.0.9:53", "10.244.2.5:5353", true},
		"never translated":                  {"10.96.0.9:53", "10.96.0.9:53", true},
		"another port":                      {"10.96.0.9:54", "10.96.0.9:54", false},
		"a TCP service's address":           {"10.96.0.10:53", "10.244.2.5:5353", false},
		"node port":                         {"192.168.7.1:30053", "10.244.1.5:5353", false},
		"node port, gone":                   {"192.168.7.1:30053", "10.244.2.5:5353", true},
		"another machine's port, forwarded": {"203.0.113.9:30053", "203.0.113.9:30053", false},
	} {
		if got := stale(conntrack.Flow{Asked: at(c.asked), Answers: at(c.answers)}); got != c.want {
			t.Errorf("%s: stale %v", name, got)
		}
	}
	if !conntrack.HasUDP(rows) || conntrack.HasUDP(backendtest.Many(1)[0].Rows) {
		t.Error("which rows have UDP is told wrongly")
	}
}

// The kernel of this machine lets flows be looked through.
func TestRealKernel(t *testing.T) {
	t.Parallel()
	space := backendtest.Space(t)
	err := backendtest.Within(space, func() error { return conntrack.Kernel{}.Forget(backendtest.EveryForm()[2].Rows, false) })
	if err != nil {
		t.Fatal(err)
	}
}
