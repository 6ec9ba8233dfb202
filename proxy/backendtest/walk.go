package backendtest

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/proxy/model"
	"github.com/headway-sh/headway/proxy/rules"
)

var (
	podNet = netip.MustParsePrefix("10.244.0.0/16")
	node   = netip.MustParseAddr("192.168.7.1")
	world  = netip.MustParseAddr("203.0.113.9")
)

// services is how many Services a walk is about.
const services = 20

// Walk visits states of Services and endpoints in random order, with writes
// that fail and backends that restart: whatever came before, after a Sync every
// packet has the fate that the objects say, and the kernel holds nothing else.
func Walk(t *testing.T, newMachine func(Facts) Machine) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		w := World{Facts: Facts{Local: []netip.Addr{node}, Cluster: podNet, Localhost: rapid.Bool().Draw(t, "localhost")}, Node: model.Node{Name: "n0", Zone: "z0"}}
		state := map[int]Service{}
		m := newMachine(w.Facts)
		crowd := 0 // Services that nobody asks for: what is grouped is grouped otherwise
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			for range rapid.IntRange(0, 12).Draw(t, "changes") {
				n := rapid.IntRange(0, services-1).Draw(t, "service")
				delete(state, n)
				if rapid.IntRange(0, 3).Draw(t, "gone") > 0 {
					state[n] = drawService(t, n)
				}
				set(m, n, state[n], w.Node)
			}
			was := crowd
			crowd = rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 60, 60, 60, 700}).Draw(t, "crowd")
			setCrowd(m, was, crowd)
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				m.Restart()
				setCrowd(m, 0, crowd)
				for n := range services {
					set(m, n, state[n], w.Node)
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "fail") == 0 {
				m.FailNext()
			}
			if err := m.Sync(t.Context()); err != nil {
				if err := m.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			w.Services = nil
			fresh := newMachine(w.Facts)
			setCrowd(fresh, 0, crowd)
			for n := range services {
				if s, ok := state[n]; ok {
					w.Services = append(w.Services, s)
					set(fresh, n, s, w.Node)
				}
			}
			if err := fresh.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := m.Leftovers(fresh); n != 0 {
				t.Fatalf("the kernel holds %d things too many or too few", n)
			}
			check(t, m, &w)
		}
	})
}

// crowdFrom keeps the crowd's addresses apart from those that packets go to.
const crowdFrom = 1000

// setCrowd makes a crowd of one size of one of another.
func setCrowd(m Machine, was, size int) {
	for i := was; i < size; i++ {
		m.Set(Plain(crowdFrom+i, "10.244.200.1:80"))
	}
	for i := size; i < was; i++ {
		m.Set(rules.Update{Key: Plain(crowdFrom + i).Key})
	}
}

func set(m Machine, n int, s Service, self model.Node) {
	key := fmt.Sprint("ns/s", n)
	if s.Object == nil {
		m.Set(rules.Update{Key: key})
		return
	}
	m.Set(rules.UpdateOf(key, model.Ports(s.Object, s.Slices, self, corev1.IPv4Protocol), nil))
}

func vip(n int) netip.Addr      { return netip.AddrFrom4([4]byte{10, 96, 0, byte(n + 1)}) }
func outer(n int) netip.Addr    { return netip.AddrFrom4([4]byte{198, 51, 100, byte(n + 1)}) }
func balancer(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 101, byte(n + 1)}) }
func pod(n, i int) netip.Addr   { return netip.AddrFrom4([4]byte{10, 244, byte(i), byte(n + 1)}) }

func drawService(t *rapid.T, n int) Service {
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	pick := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("s", n)}, Spec: corev1.ServiceSpec{
		ClusterIP: vip(n).String(), ClusterIPs: []string{vip(n).String()}, Ports: []corev1.ServicePort{{Name: "a", Port: 80, Protocol: tcp}}}}
	if pick("second port") {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "b", Port: 80, Protocol: udp})
	}
	if pick("internal policy") {
		s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
	}
	if pick("external policy") {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if pick("external address") {
		s.Spec.ExternalIPs = []string{outer(n).String()}
	}
	if pick("node port") {
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = int32(30000 + 10*n)
		}
	}
	if pick("balancer") {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: balancer(n).String()}}
		if rapid.Bool().Draw(t, "proxied") {
			s.Status.LoadBalancer.Ingress[0].IPMode = ptr.To(corev1.LoadBalancerIPModeProxy)
		}
		s.Spec.LoadBalancerSourceRanges = rapid.SampledFrom([][]string{nil, {"203.0.113.0/24"}, {"10.244.0.0/24", "192.0.2.0/24"}, {"fd00::/8"}, {"10.0.0.0/8", "0.0.0.0/0"}}).Draw(t, "ranges")
	}
	return Service{s, drawSlices(t, n, s)}
}

func drawSlices(t *rapid.T, n int, s *corev1.Service) []*discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: ptr.To[int32](8080)})
	}
	hints := rapid.IntRange(0, 4).Draw(t, "hints")
	for i := range rapid.SampledFrom([]int{0, 1, 2, 3, 6}).Draw(t, "endpoints") {
		on := fmt.Sprint("n", rapid.IntRange(0, 2).Draw(t, "node"))
		e := discoveryv1.Endpoint{Addresses: []string{pod(n, i).String()}, NodeName: &on}
		switch rapid.IntRange(0, 5).Draw(t, "condition") {
		case 0:
			e.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
		case 1:
			e.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(false)}
		}
		if hints == 1 || hints == 2 {
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: fmt.Sprint("z", rapid.IntRange(0, 1).Draw(t, "zone"))}}}
		}
		if hints == 2 {
			e.Hints.ForNodes = []discoveryv1.ForNode{{Name: on}}
		}
		slice.Endpoints = append(slice.Endpoints, e)
	}
	if len(slice.Endpoints) > 0 && hints == 3 {
		slice.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z0"}}}
	}
	return []*discoveryv1.EndpointSlice{slice}
}

func check(t *rapid.T, m Machine, w *World) {
	for n := range services {
		for _, dst := range []netip.AddrPort{
			netip.AddrPortFrom(vip(n), 80), netip.AddrPortFrom(vip(n), 81), netip.AddrPortFrom(outer(n), 80), netip.AddrPortFrom(balancer(n), 80),
			netip.AddrPortFrom(node, uint16(30000+10*n)), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(30000+10*n)), netip.AddrPortFrom(world, uint16(30000+10*n)),
		} {
			for _, src := range []netip.Addr{pod(n, 0), pod(n, 1), node, world, netip.MustParseAddr("127.0.0.1")} {
				protocol := "tcp"
				if n%2 == 0 {
					protocol = "udp"
				}
				p := Packet{Src: src, Dst: dst, Protocol: protocol, Wire: src != node && !src.IsLoopback()}
				compare(t, p, Outcomes(m, p), w.Expect(p))
			}
		}
	}
}

// tolerance is for probabilities, which are written with ten digits.
const tolerance = 1e-6

type failer interface{ Fatalf(string, ...any) }

func compare(t failer, p Packet, got, want map[Fate]float64) {
	same := len(got) == len(want)
	for fate, probability := range want {
		same = same && math.Abs(got[fate]-probability) < tolerance
	}
	if !same {
		t.Fatalf("%+v:\ngot  %+v\nwant %+v", p, got, want)
	}
}
