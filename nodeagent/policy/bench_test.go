package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/internal/podgroup"
	"github.com/headway-sh/headway/nodeagent/policy"
	"github.com/headway-sh/headway/nodeagent/policy/emulator"
)

// busy is a node with 100 pods in ten namespaces, 1,000 policies, and a group of
// 10,000 peers that each of them speaks of.
func busy(b *testing.B) (*policy.Model, *policy.Sync, *emulator.Kernel) {
	b.Helper()
	m, k := policy.NewModel(bridge, false), emulator.New()
	all := networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}}
	for i := range 1000 {
		p := allowing(fmt.Sprint("np", i), fmt.Sprint("app", i/10), networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{all}})
		p.Namespace = fmt.Sprint("ns", i%10)
		m.SetPolicy(p)
	}
	for i := range 100 {
		m.SetPod(policy.Pod{UID: types.UID(fmt.Sprint(i)), Namespace: fmt.Sprint("ns", i%10), Labels: map[string]string{"app": fmt.Sprint("app", i)},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})}})
	}
	for i := range 100 {
		m.SetSlice(slice(i, 0))
	}
	s := policy.NewSync(k)
	if err := s.Write(b.Context(), m); err != nil {
		b.Fatal(err)
	}
	return m, s, k
}

// slice has 100 members of all pods, from one on.
func slice(number, first int) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(number), Labels: map[string]string{podgroup.Label: string(podgroup.All().Key())}}, AddressType: discoveryv1.AddressTypeIPv4}
	for i := range 100 {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.2.%d.%d", number, first+i)}, TargetRef: &corev1.ObjectReference{}})
	}
	return s
}

// BenchmarkPod is a pod of the node that comes and goes.
func BenchmarkPod(b *testing.B) {
	m, s, _ := busy(b)
	pod := policy.Pod{UID: "new", Namespace: "ns1", Labels: map[string]string{"app": "app11"}, Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.200")}}
	for b.Loop() {
		m.SetPod(pod)
		if err := s.Write(b.Context(), m); err != nil {
			b.Fatal(err)
		}
		m.DeletePod(pod.UID)
		if err := s.Write(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPeer is a pod elsewhere that takes another's place.
func BenchmarkPeer(b *testing.B) {
	m, s, k := busy(b)
	clear(k.Changes)
	n := 0
	for b.Loop() {
		n++
		m.SetSlice(slice(7, n%2))
		if err := s.Write(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(k.Changes["add"]+k.Changes["remove"])/float64(n), "elements/op")
	b.ReportMetric(float64(k.Changes["restore"])/float64(n), "restores/op")
}
