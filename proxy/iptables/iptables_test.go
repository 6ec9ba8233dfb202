package iptables_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/headway-sh/headway/proxy/iptables"
	"github.com/headway-sh/headway/proxy/iptables/emulator"
	"github.com/headway-sh/headway/proxy/model"
)

var (
	podNet  = netip.MustParsePrefix("10.244.0.0/16")
	node    = netip.MustParseAddr("192.168.7.1")
	outside = netip.MustParseAddr("203.0.113.9")
	podA    = netip.MustParseAddr("10.244.0.5")
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

func first(int) bool { return true }
func last(int) bool  { return false }

func TestPackets(t *testing.T) {
	t.Parallel()
	vip, nodePort := netip.MustParseAddrPort("10.96.0.20:80"), netip.AddrPortFrom(node, 30080)
	local := func(p *model.ServicePort) { p.ExternalLocal = true }
	empty := func(p *model.ServicePort) { p.Cluster, p.Local = nil, nil }
	for name, c := range map[string]struct {
		port   model.ServicePort
		packet emulator.Packet
		choose func(int) bool
		want   emulator.Fate
	}{
		"pod to cluster IP, first":       {web(), emulator.Packet{Src: podA, Dst: vip, Protocol: "tcp"}, first, emulator.Fate{To: ends("10.244.0.5:8080")[0], Masqueraded: true}},
		"pod to cluster IP, last":        {web(), emulator.Packet{Src: podA, Dst: vip, Protocol: "tcp"}, last, emulator.Fate{To: ends("10.244.1.7:8080")[0]}},
		"from outside to cluster IP":     {web(), emulator.Packet{Src: outside, Dst: vip, Protocol: "tcp"}, last, emulator.Fate{To: ends("10.244.1.7:8080")[0], Masqueraded: true}},
		"other protocol":                 {web(), emulator.Packet{Src: podA, Dst: vip, Protocol: "udp"}, first, emulator.Fate{To: vip}},
		"other port":                     {web(), emulator.Packet{Src: podA, Dst: netip.MustParseAddrPort("10.96.0.20:81"), Protocol: "tcp"}, first, emulator.Fate{To: netip.MustParseAddrPort("10.96.0.20:81")}},
		"node port":                      {web(), emulator.Packet{Src: outside, Dst: nodePort, Protocol: "tcp"}, last, emulator.Fate{To: ends("10.244.1.7:8080")[0], Masqueraded: true}},
		"node port keeps client address": {web(local), emulator.Packet{Src: outside, Dst: nodePort, Protocol: "tcp"}, last, emulator.Fate{To: ends("10.244.0.5:8080")[0]}},
		"node port number of another machine": {web(), emulator.Packet{Src: podA, Dst: netip.AddrPortFrom(outside, 30080), Protocol: "tcp"}, first,
			emulator.Fate{To: netip.AddrPortFrom(outside, 30080)}},
		"no endpoints":              {web(empty), emulator.Packet{Src: podA, Dst: vip, Protocol: "tcp"}, first, emulator.Fate{To: vip, Rejected: true}},
		"no endpoints on node port": {web(empty), emulator.Packet{Src: outside, Dst: nodePort, Protocol: "tcp"}, first, emulator.Fate{To: nodePort, Rejected: true}},
		"no local endpoint": {web(local, func(p *model.ServicePort) { p.Local = nil }), emulator.Packet{Src: outside, Dst: nodePort, Protocol: "tcp"}, first,
			emulator.Fate{To: nodePort, Rejected: true}},
		"external address": {web(func(p *model.ServicePort) { p.External = []netip.Addr{outside} }),
			emulator.Packet{Src: podA, Dst: netip.AddrPortFrom(outside, 80), Protocol: "tcp"}, last, emulator.Fate{To: ends("10.244.1.7:8080")[0], Masqueraded: true}},
	} {
		k := emulator.New(node)
		state := iptables.State{Ports: []model.ServicePort{c.port}, Cluster: podNet, Hairpins: []netip.Addr{podA}}
		if err := iptables.NewTable(k).Sync(t.Context(), state); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := k.Send(c.packet, c.choose); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestAffinityKeepsAClientAtItsEndpoint(t *testing.T) {
	t.Parallel()
	k := emulator.New(node)
	sticky := web(func(p *model.ServicePort) { p.AffinitySeconds = 10800 })
	if err := iptables.NewTable(k).Sync(t.Context(), iptables.State{Ports: []model.ServicePort{sticky}, Cluster: podNet}); err != nil {
		t.Fatal(err)
	}
	packet := emulator.Packet{Src: podA, Dst: netip.MustParseAddrPort("10.96.0.20:80"), Protocol: "tcp"}
	was := k.Send(packet, last)
	if again := k.Send(packet, first); again != was {
		t.Errorf("first %v, then %v", was.To, again.To)
	}
	if other := k.Send(emulator.Packet{Src: outside, Dst: packet.Dst, Protocol: "tcp"}, first); other.To == was.To {
		t.Errorf("another client was sent to %v as well", other.To)
	}
}

// Whatever states follow one another, and wherever a restore fails, after a
// successful Sync packets go where a freshly built kernel would send them.
func TestRandomWalk(t *testing.T) {
	t.Parallel()
	port := rapid.Custom(func(t *rapid.T) model.ServicePort {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		p := model.ServicePort{Namespace: "ns", Service: fmt.Sprint("s", n), Protocol: rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "protocol"),
			ClusterIP: netip.AddrFrom4([4]byte{10, 96, 0, byte(n + 1)}), Number: 80,
			InternalLocal: rapid.Bool().Draw(t, "internal local"), ExternalLocal: rapid.Bool().Draw(t, "external local")}
		if rapid.Bool().Draw(t, "node port") {
			p.NodePort = uint16(30000 + n)
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "endpoints") {
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), byte(n + 1)}), 8080)
			p.Cluster = append(p.Cluster, to)
			if i == 0 {
				p.Local = append(p.Local, to)
			}
		}
		return p
	})
	key := func(p model.ServicePort) string { return p.ID() + p.Protocol }
	rapid.Check(t, func(t *rapid.T) {
		k := emulator.New(node)
		table := iptables.NewTable(k)
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			state := iptables.State{Ports: rapid.SliceOfNDistinct(port, 0, 30, key).Draw(t, "ports"), Cluster: podNet}
			if rapid.IntRange(0, 4).Draw(t, "fail") == 0 {
				k.FailRestore = errors.New("injected")
			}
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				table = iptables.NewTable(k)
			}
			if err := table.Sync(t.Context(), state); err != nil {
				if err := table.Sync(t.Context(), state); err != nil {
					t.Fatal(err)
				}
			}
			fresh := emulator.New(node)
			if err := iptables.NewTable(fresh).Sync(t.Context(), state); err != nil {
				t.Fatal(err)
			}
			for n := range 41 {
				for _, packet := range []emulator.Packet{
					{Src: podA, Dst: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 0, byte(n + 1)}), 80), Protocol: "tcp"},
					{Src: outside, Dst: netip.AddrPortFrom(node, uint16(30000+n)), Protocol: "udp"},
				} {
					if got, want := k.Send(packet, last), fresh.Send(packet, last); got != want {
						t.Fatalf("%+v: got %+v, want %+v", packet, got, want)
					}
				}
			}
			if chains, _ := k.Chains(t.Context()); len(chains["nat"]) != len(iptables.Build(state)["nat"]) {
				t.Fatalf("chains left over: %v", chains["nat"])
			}
		}
	})
}

// The kernel of this machine accepts every form of rule, and Remove leaves it
// as it was.
func TestRealKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	for _, program := range []string{"ip", "iptables-restore", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	name := fmt.Sprintf("hwproxy%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("make a network namespace: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			t.Errorf("delete the network namespace: %v: %s", err, out)
		}
	})
	kernel := iptables.Exec{NetNS: "/run/netns/" + name}
	ports := []model.ServicePort{web(func(p *model.ServicePort) { p.AffinitySeconds = 60; p.External = []netip.Addr{outside} }), web(func(p *model.ServicePort) {
		p.Service, p.Cluster, p.Local, p.NodePort = "none", nil, nil, 30081
	})}
	for n := range 40 {
		ports = append(ports, model.ServicePort{Namespace: "many", Service: fmt.Sprint(n), Protocol: "udp", ClusterIP: netip.AddrFrom4([4]byte{10, 96, 1, byte(n)}), Number: 53,
			Cluster: ends("10.244.0.9:53", "10.244.0.10:53", "10.244.0.11:53")})
	}
	state := iptables.State{Ports: ports, Cluster: podNet, Hairpins: []netip.Addr{podA}}
	table := iptables.NewTable(kernel)
	if err := table.Sync(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	chains, err := kernel.Chains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := iptables.Build(state)
	if len(chains["nat"]) != len(want["nat"]) || !slices.Contains(chains["filter"], iptables.Reject) {
		t.Errorf("the kernel has %d nat chains, want %d", len(chains["nat"]), len(want["nat"]))
	}
	state.Ports = state.Ports[:20]
	if err := table.Sync(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	// A second life finds the first one's chains and repairs what it does not want.
	state.Ports = state.Ports[:3]
	if err := iptables.NewTable(kernel).Sync(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	if err := iptables.Remove(t.Context(), kernel); err != nil {
		t.Fatal(err)
	}
	saved, err := exec.Command("nsenter", "--net=/run/netns/"+name, "iptables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(saved), "HW-") {
		t.Errorf("left behind:\n%s", saved)
	}
}

func BenchmarkOneChangeAmong10000(b *testing.B) {
	state := iptables.State{Cluster: podNet}
	for n := range 10000 {
		state.Ports = append(state.Ports, model.ServicePort{Namespace: "many", Service: fmt.Sprint(n), Protocol: "tcp",
			ClusterIP: netip.AddrFrom4([4]byte{10, 96, byte(n >> 8), byte(n)}), Number: 80, Cluster: ends("10.244.0.9:53", "10.244.0.10:53")})
	}
	have := iptables.Build(state)
	state.Ports[77].Cluster = ends("10.244.0.9:53")
	for b.Loop() {
		if iptables.Diff(have, iptables.Build(state)) == "" {
			b.Fatal("no change found")
		}
	}
}
