package backendtest

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headway-sh/headway/proxy/model"
	"github.com/headway-sh/headway/proxy/rules"
)

func ends(texts ...string) []netip.AddrPort {
	out := make([]netip.AddrPort, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParseAddrPort(t)
	}
	return out
}

func web(edit ...func(*model.ServicePort)) model.ServicePort {
	p := model.ServicePort{Namespace: "shop", Service: "web", Port: "http", Protocol: "tcp", ClusterIP: netip.MustParseAddr("10.96.0.20"), Number: 80,
		NodePort: 30080, Cluster: ends("10.244.0.5:8080", "10.244.1.7:8080"), Local: ends("10.244.0.5:8080")}
	for _, e := range edit {
		e(&p)
	}
	return p
}

func setPort(m Machine, p model.ServicePort) {
	m.Set(rules.UpdateOf(p.Namespace+"/"+p.Service, []model.ServicePort{p}, nil))
}

// Packets tells the fates of packets that people ask about.
func Packets(t *testing.T, newMachine func(Facts) Machine) {
	t.Helper()
	podA, local := netip.MustParseAddr("10.244.0.5"), netip.MustParseAddr("127.0.0.1")
	vip, nodePort := netip.MustParseAddrPort("10.96.0.20:80"), netip.AddrPortFrom(node, 30080)
	here, there := ends("10.244.0.5:8080")[0], ends("10.244.1.7:8080")[0]
	keep := func(p *model.ServicePort) { p.ExternalLocal = true }
	nobodyHere := func(p *model.ServicePort) { p.ExternalLocal, p.Local = true, nil }
	empty := func(p *model.ServicePort) { p.Cluster, p.Local = nil, nil }
	lent := func(p *model.ServicePort) {
		p.Balancer, p.Ranges = []netip.Addr{world}, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}
	}
	half := func(a, b Fate) map[Fate]float64 { return map[Fate]float64{a: 0.5, b: 0.5} }
	sure := func(f Fate) map[Fate]float64 { return map[Fate]float64{f: 1} }
	from := func(src netip.Addr, dst netip.AddrPort) Packet {
		return Packet{Src: src, Dst: dst, Protocol: "tcp", Wire: src != node && src != local}
	}
	other := netip.MustParseAddrPort("10.96.0.20:81")
	elsewhere := netip.AddrPortFrom(world, 30080)
	borrowed := netip.AddrPortFrom(world, 80)
	loopback := netip.AddrPortFrom(local, 30080)
	for name, c := range map[string]struct {
		port   model.ServicePort
		packet Packet
		want   map[Fate]float64
	}{
		"a pod that may reach itself":         {web(), from(podA, vip), half(Fate{To: here, Masqueraded: true}, Fate{To: there})},
		"from outside to a cluster IP":        {web(), from(world, vip), half(Fate{To: here, Masqueraded: true}, Fate{To: there, Masqueraded: true})},
		"from the node to a cluster IP":       {web(), from(node, vip), half(Fate{To: here, Masqueraded: true}, Fate{To: there, Masqueraded: true})},
		"another protocol":                    {web(), Packet{Src: podA, Dst: vip, Protocol: "udp"}, sure(Fate{To: vip, Rejected: true})},
		"another port":                        {web(), from(podA, other), sure(Fate{To: other, Rejected: true})},
		"node port":                           {web(), from(world, nodePort), half(Fate{To: here, Masqueraded: true}, Fate{To: there, Masqueraded: true})},
		"node port on the node itself":        {web(), from(local, loopback), half(Fate{To: here, Masqueraded: true}, Fate{To: there, Masqueraded: true})},
		"a stranger sends to loopback":        {web(), from(world, loopback), sure(Fate{To: loopback, Dropped: true})},
		"node port keeps the client":          {web(keep), from(world, nodePort), sure(Fate{To: here})},
		"node port for the node, kept":        {web(nobodyHere), from(local, loopback), half(Fate{To: here, Masqueraded: true}, Fate{To: there, Masqueraded: true})},
		"node port number of another machine": {web(), from(podA, elsewhere), sure(Fate{To: elsewhere})},
		"no endpoints":                        {web(empty), from(podA, vip), sure(Fate{To: vip, Rejected: true})},
		"no endpoints on node port":           {web(empty), from(world, nodePort), sure(Fate{To: nodePort, Rejected: true})},
		"no endpoint here":                    {web(nobodyHere), from(world, nodePort), sure(Fate{To: nodePort, Dropped: true})},
		"external address": {web(func(p *model.ServicePort) { p.External = []netip.Addr{world} }), from(podA, borrowed),
			half(Fate{To: here, Masqueraded: true}, Fate{To: there, Masqueraded: true})},
		"balancer lets in":   {web(lent), from(podA, borrowed), half(Fate{To: here, Masqueraded: true}, Fate{To: there, Masqueraded: true})},
		"balancer keeps out": {web(lent), from(netip.MustParseAddr("10.244.3.5"), borrowed), sure(Fate{To: borrowed, Dropped: true})},
	} {
		m := newMachine(Facts{Local: []netip.Addr{node}, Cluster: podNet, Localhost: true})
		setPort(m, c.port)
		if err := m.Sync(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, Outcomes(m, c.packet), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
			cmp.Comparer(func(a, b float64) bool { return a-b < tolerance && b-a < tolerance })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Affinity keeps a client at its endpoint, also when other endpoints come and
// go, and another client at another one.
func Affinity(t *testing.T, newMachine func(Facts) Machine) {
	t.Helper()
	m := newMachine(Facts{Local: []netip.Addr{node}, Cluster: podNet})
	sticky := web(func(p *model.ServicePort) { p.AffinitySeconds = 10800 })
	first, last := func(int) bool { return true }, func(int) bool { return false }
	sync := func() {
		t.Helper()
		setPort(m, sticky)
		if err := m.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sync()
	packet := Packet{Src: netip.MustParseAddr("10.244.3.3"), Dst: netip.MustParseAddrPort("10.96.0.20:80"), Protocol: "tcp", Wire: true}
	was := m.Send(packet, last)
	if was.To != sticky.Cluster[1] {
		t.Fatalf("sent to %v", was.To)
	}
	if again := m.Send(packet, first); again != was {
		t.Errorf("first %v, then %v", was.To, again.To)
	}
	if other := m.Send(Packet{Src: world, Dst: packet.Dst, Protocol: "tcp", Wire: true}, first); other.To == was.To {
		t.Errorf("another client was sent to %v as well", other.To)
	}
	sticky.Cluster = append(sticky.Cluster, ends("10.244.1.9:8080")...)
	sync()
	if again := m.Send(packet, first); again != was {
		t.Errorf("an endpoint came: first %v, then %v", was.To, again.To)
	}
	sticky.Cluster = ends("10.244.0.5:8080", "10.244.1.9:8080")
	sync()
	if again := m.Send(packet, last); again.To != sticky.Cluster[1] {
		t.Errorf("its endpoint went: sent to %v", again.To)
	}
}
