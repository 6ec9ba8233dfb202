package policy_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/policy"
	"github.com/headway-sh/headway/nodeagent/policy/emulator"
)

const bridge = "hw0"

var (
	spaces    = []string{"a", "b"}
	protocols = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	selectors = []*metav1.LabelSelector{nil, {}, {MatchLabels: map[string]string{"app": "x"}}, {MatchLabels: map[string]string{"app": "y"}},
		{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}}}}
	blocks = []*networkingv1.IPBlock{{CIDR: "10.1.0.0/16"}, {CIDR: "0.0.0.0/0", Except: []string{"10.1.0.0/28", "10.1.0.20/32"}}, {CIDR: "192.0.2.7/32"},
		{CIDR: "10.1.0.0/24", Except: []string{"10.1.0.0/24"}}, {CIDR: "fd00::/64", Except: []string{"fd00::8/125"}}, {CIDR: "::/0"}}
)

func drawPod(t *rapid.T, i int) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.UID = rapid.SampledFrom(spaces).Draw(t, "namespace"), fmt.Sprint("p", i), types.UID(fmt.Sprint("u", i))
	p.Labels = map[string]string{"app": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "app")}
	p.Spec.NodeName = rapid.SampledFrom([]string{"here", "there"}).Draw(t, "node")
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{
		{Name: "http", Protocol: rapid.SampledFrom(protocols).Draw(t, "protocol"), ContainerPort: rapid.SampledFrom([]int32{80, 81}).Draw(t, "port")}}}}
	p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.1.0.%d", i+10)}, {IP: fmt.Sprintf("fd00::%x", i+1)}}
	return p
}

func drawPeers(t *rapid.T) (peers []networkingv1.NetworkPolicyPeer) {
	for range rapid.IntRange(0, 2).Draw(t, "peers") {
		if rapid.IntRange(0, 2).Draw(t, "block") == 0 {
			peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: rapid.SampledFrom(blocks).Draw(t, "cidr")})
			continue
		}
		p := networkingv1.NetworkPolicyPeer{PodSelector: rapid.SampledFrom(selectors).Draw(t, "pods"), NamespaceSelector: rapid.SampledFrom(selectors).Draw(t, "namespaces")}
		if p.PodSelector == nil && p.NamespaceSelector == nil {
			p.PodSelector = &metav1.LabelSelector{}
		}
		peers = append(peers, p)
	}
	return peers
}

func drawPorts(t *rapid.T) (ports []networkingv1.NetworkPolicyPort) {
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		p := networkingv1.NetworkPolicyPort{}
		if rapid.Bool().Draw(t, "has protocol") {
			p.Protocol = ptr.To(rapid.SampledFrom(protocols).Draw(t, "protocol"))
		}
		switch rapid.IntRange(0, 3).Draw(t, "form") {
		case 1:
			p.Port = ptr.To(intstr.FromString("http"))
		case 2:
			p.Port = ptr.To(intstr.FromInt32(80))
		case 3:
			p.Port, p.EndPort = ptr.To(intstr.FromInt32(79)), ptr.To[int32](80)
		}
		ports = append(ports, p)
	}
	return ports
}

func drawPolicy(t *rapid.T, i int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: rapid.SampledFrom(spaces).Draw(t, "namespace"), Name: fmt.Sprint("np", i)}}
	p.Spec.PodSelector = *rapid.SampledFrom(selectors[1:]).Draw(t, "selects")
	p.Spec.PolicyTypes = rapid.SampledFrom([][]networkingv1.PolicyType{nil, {"Ingress"}, {"Egress"}, {"Ingress", "Egress"}}).Draw(t, "types")
	for range rapid.IntRange(0, 2).Draw(t, "ingress") {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: drawPeers(t), Ports: drawPorts(t)})
	}
	for range rapid.IntRange(0, 2).Draw(t, "egress") {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: drawPeers(t), Ports: drawPorts(t)})
	}
	return p
}

// node is what is tested, with what it has been told.
type node struct {
	model   *policy.Model
	sync    *policy.Sync
	kernels []*emulator.Kernel
	slices  map[string]*discoveryv1.EndpointSlice
}

func newNode() *node {
	n := &node{model: policy.NewModel(bridge, true), kernels: []*emulator.Kernel{emulator.New(), emulator.New()}, slices: map[string]*discoveryv1.EndpointSlice{}}
	n.sync = policy.NewSync(n.kernels[0], n.kernels[1])
	return n
}

// follow tells the node of slices as a watch does.
func (n *node) follow(now map[string]*discoveryv1.EndpointSlice) {
	for name, s := range n.slices {
		if now[name] == nil {
			n.model.DeleteSlice(s)
		}
	}
	for name, s := range now {
		if !reflect.DeepEqual(s, n.slices[name]) {
			n.model.SetSlice(s)
		}
	}
	n.slices = now
}

func local(p *corev1.Pod) policy.Pod {
	var addresses []netip.Addr
	for _, ip := range p.Status.PodIPs {
		addresses = append(addresses, netip.MustParseAddr(ip.IP))
	}
	return policy.PodOf(p, addresses)
}

func (n *node) setPod(p *corev1.Pod) {
	if n.model.DeletePod(p.UID); p.Spec.NodeName == "here" {
		n.model.SetPod(local(p))
	}
}

// step changes the world in one way.
func step(t *rapid.T, w *world, n *node) {
	i := rapid.IntRange(0, 5).Draw(t, "which")
	switch rapid.IntRange(0, 7).Draw(t, "step") {
	case 0, 1, 2:
		for name, p := range w.pods {
			if p.Name == fmt.Sprint("p", i) {
				delete(w.pods, name)
			}
		}
		p := drawPod(t, i)
		w.pods[p.Namespace+"/"+p.Name] = p
		n.setPod(p)
	case 3:
		for name, p := range w.pods {
			if p.Name == fmt.Sprint("p", i) {
				delete(w.pods, name)
				n.model.DeletePod(p.UID)
			}
		}
	case 4, 5:
		p := drawPolicy(t, i)
		w.policies[p.Namespace+"/"+p.Name] = p
		n.model.SetPolicy(p)
	case 6:
		name := types.NamespacedName{Namespace: rapid.SampledFrom(spaces).Draw(t, "namespace"), Name: fmt.Sprint("np", i)}
		delete(w.policies, name.String())
		n.model.DeletePolicy(name)
	case 7:
		w.namespaces[rapid.SampledFrom(spaces).Draw(t, "namespace")] = map[string]string{"app": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "label")}
	}
	n.follow(w.slices())
}

// TestRandomWalk: whatever policies, pods and namespaces follow one another,
// wherever a write fails and whenever the agent starts anew, afterwards each
// packet fares as the API reference says.
func TestRandomWalk(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{namespaces: map[string]map[string]string{"a": {"app": "x"}, "b": {}}, pods: map[string]*corev1.Pod{}, policies: map[string]*networkingv1.NetworkPolicy{}}
		n := newNode()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			step(t, w, n)
			if rapid.IntRange(0, 6).Draw(t, "restart") == 0 {
				n.model, n.slices, n.sync = policy.NewModel(bridge, true), nil, policy.NewSync(n.kernels[0], n.kernels[1])
				for _, p := range w.pods {
					n.setPod(p)
				}
				for _, p := range w.policies {
					n.model.SetPolicy(p)
				}
				n.follow(w.slices())
			}
			fail := rapid.IntRange(-10, 10).Draw(t, "fail at")
			for _, k := range n.kernels {
				k.Fail = func(string) error {
					if fail--; fail == 0 {
						return errors.New("injected")
					}
					return nil
				}
			}
			if err := n.sync.Write(t.Context(), n.model); err != nil {
				fail = -1
				if err := n.sync.Write(t.Context(), n.model); err != nil {
					t.Fatal(err)
				}
			}
			check(t, w, n)
		}
		for _, p := range w.pods {
			n.model.DeletePod(p.UID)
		}
		for _, k := range n.kernels {
			k.Fail = nil
		}
		if err := n.sync.Write(t.Context(), n.model); err != nil {
			t.Fatal(err)
		}
		for _, k := range n.kernels {
			sets, _ := k.Sets(t.Context(), "")
			chains, _ := k.Chains(t.Context(), "")
			if len(sets) != 0 || len(chains) != 1 {
				t.Fatalf("without pods there are the sets %v and the chains %v", sets, chains)
			}
		}
	})
}

func check(t *rapid.T, w *world, n *node) {
	for family, k := range n.kernels {
		ends := []netip.Addr{netip.MustParseAddr([]string{"192.0.2.7", "2001:db8::7"}[family])}
		for _, p := range w.pods {
			ends = append(ends, netip.MustParseAddr(p.Status.PodIPs[family].IP))
		}
		for _, src := range ends {
			for _, dst := range ends {
				for _, protocol := range []string{"tcp", "udp", "sctp", "icmp"} {
					for _, port := range []uint16{79, 80, 81} {
						p := emulator.Packet{Src: src, Dst: dst, Protocol: protocol, Port: port}
						got, err := k.Allows(network.PolicyChain(bridge), p)
						if want := w.allows(p, "here"); err != nil || got != want {
							t.Fatalf("%+v: allowed %v, want %v (%v)", p, got, want, err)
						}
					}
				}
			}
		}
	}
}
