package node_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headway-sh/headway/nodeagent/node"
)

// TestPeersAreRemembered knows the other nodes when an agent starts without a
// server, and forgets those that were removed meanwhile once it hears one.
func TestPeersAreRemembered(t *testing.T) {
	t.Parallel()
	other := func(name, address string, ready corev1.ConditionStatus) *corev1.Node {
		o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		o.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		o.Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
		o.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		return o
	}
	file := filepath.Join(t.TempDir(), "peers.json")
	made := func(objects ...client.Object) *node.Node {
		t.Helper()
		n, err := node.New(node.Config{
			Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Network: &network{routes: map[string]string{}}, Images: images{}, PeersFile: file,
			Client: fake.NewClientBuilder().WithStatusSubresource(&corev1.Node{}).WithObjects(objects...).Build(), Clock: clocktesting.NewFakeClock(time.Unix(1000, 0)),
			Machine: func(string) (node.Machine, error) { return node.Machine{}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	run := func(n *node.Node, is func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		for deadline := time.Now().Add(10 * time.Second); !is(); {
			if time.Now().After(deadline) {
				t.Errorf("it knows %v", n.Peers())
				break
			}
			tick := time.NewTimer(time.Millisecond)
			<-tick.C
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	first := made(other("n2", "192.0.2.2", corev1.ConditionTrue), other("n3", "192.0.2.3", corev1.ConditionFalse), other("n4", "192.0.2.4", corev1.ConditionTrue))
	run(first, func() bool { return first.Knows("n2") && first.Knows("n3") && len(first.Peers()) == 2 })
	second := made(other("n4", "192.0.2.4", corev1.ConditionTrue))
	if !second.Knows("n2") || len(second.Peers()) != 2 {
		t.Errorf("without a server it knows %v", second.Peers())
	}
	run(second, func() bool { return !second.Knows("n2") && !second.Knows("n3") && len(second.Peers()) == 1 })
}
