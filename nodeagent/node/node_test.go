package node_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/node"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type network struct {
	mu     sync.Mutex // guards below
	cidrs  []netip.Prefix
	routes map[string]string
}

func (n *network) Start(_ context.Context, cidrs []netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cidrs = cidrs
	return nil
}

func (n *network) Ready() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.cidrs) > 0
}

func (n *network) SetRoute(name string, to netip.Prefix, via netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.routes[name] = to.String() + " via " + via.String()
	return nil
}

func (n *network) DeleteRoute(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.routes, name)
	return nil
}

func (n *network) route(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.routes[name]
}

type images struct{}

func (images) ListImages(context.Context) ([]runtime.Image, error) {
	return []runtime.Image{{ID: "sha256:1", References: []string{"a:v1"}, Size: 5}}, nil
}

func TestNode(t *testing.T) {
	t.Parallel()
	watching := make(chan struct{}, 10)
	var mu sync.Mutex // guards writes
	writes := 0
	c := fake.NewClientBuilder().WithStatusSubresource(&corev1.Node{}).WithInterceptorFuncs(interceptor.Funcs{
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			w, err := c.Watch(ctx, list, opts...)
			watching <- struct{}{}
			return w, err
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			mu.Lock()
			writes++
			mu.Unlock()
			return c.SubResource(sub).Patch(ctx, o, patch, opts...)
		},
	}).Build()
	net := &network{routes: map[string]string{}}
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	pressed := false
	machine := node.Machine{CPUs: 2, MemoryTotal: 4 << 30, MemoryAvailable: 2 << 30, Disk: node.Disk{Total: 100 << 30, Available: 50 << 30}, HugePages: map[int64]int64{2 << 20: 512}, PidsMax: 1000, Pids: 10}
	thresholds, err := eviction.Parse(eviction.DefaultHard, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.New(node.Config{
		Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, External: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, Client: c, Network: net, Images: images{}, Clock: clk,
		Reserved: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("500Mi")}, Thresholds: thresholds,
		Conditions: func() map[corev1.NodeConditionType]bool {
			mu.Lock()
			defer mu.Unlock()
			return map[corev1.NodeConditionType]bool{corev1.NodeMemoryPressure: pressed}
		},
		Machine: func(string) (node.Machine, error) {
			mu.Lock()
			defer mu.Unlock()
			return machine, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-watching
	await := func(what string, is func(*corev1.Node) bool) *corev1.Node {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			o := &corev1.Node{}
			if err := c.Get(ctx, client.ObjectKey{Name: "n1"}, o); err == nil && is(o) {
				return o
			}
			if time.Now().After(deadline) {
				t.Fatalf("never: %s: %+v", what, o)
			}
			tick := time.NewTimer(time.Millisecond)
			<-tick.C
		}
	}
	is := func(o *corev1.Node, kind corev1.NodeConditionType) corev1.ConditionStatus {
		for _, c := range o.Status.Conditions {
			if c.Type == kind {
				return c.Status
			}
		}
		return ""
	}
	o := await("registered", func(o *corev1.Node) bool { return len(o.Status.Images) == 1 })
	if o.Labels[corev1.LabelHostname] != "n1" || is(o, corev1.NodeReady) != corev1.ConditionFalse || o.Status.Capacity.Cpu().Value() != 2 {
		t.Errorf("node %+v", o)
	}
	wantAddresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeExternalIP, Address: "198.51.100.1"}, {Type: corev1.NodeHostName, Address: "n1"}}
	if !slices.Equal(o.Status.Addresses, wantAddresses) {
		t.Errorf("addresses %v, want %v", o.Status.Addresses, wantAddresses)
	}
	for name, want := range (corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1750m"), corev1.ResourcePods: resource.MustParse("110"), "hugepages-2Mi": resource.MustParse("1Gi"),
		corev1.ResourceMemory: resource.MustParse("2472Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("90Gi"),
	}) {
		if got := o.Status.Allocatable[name]; got.Cmp(want) != 0 {
			t.Errorf("allocatable %s: %s, want %s", name, got.String(), want.String())
		}
	}
	o.Spec.PodCIDR, o.Spec.Unschedulable = "10.244.1.0/24", true
	if err := c.Update(ctx, o); err != nil {
		t.Fatal(err)
	}
	o = await("ready", func(o *corev1.Node) bool { return is(o, corev1.NodeReady) == corev1.ConditionTrue })
	if !o.Spec.Unschedulable {
		t.Error("the cordon is gone")
	}
	const extended = "example.com/dongle"
	foreign := client.RawPatch(types.MergePatchType, []byte(`{"status":{"capacity":{"`+extended+`":"3"}}}`))
	if err := c.Status().Patch(ctx, o.DeepCopy(), foreign); err != nil {
		t.Fatal(err)
	}
	await("what others say the node has to be given out", func(o *corev1.Node) bool {
		offered := o.Status.Allocatable[extended]
		return offered.Value() == 3
	})
	other := &corev1.Node{}
	other.Name, other.Spec.PodCIDR = "n2", "10.244.2.0/24"
	other.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.2"}}
	if err := c.Create(ctx, other); err != nil {
		t.Fatal(err)
	}
	await("a route", func(*corev1.Node) bool { return net.route("n2") == "10.244.2.0/24 via 192.0.2.2" })
	if err := c.Delete(ctx, other); err != nil {
		t.Fatal(err)
	}
	await("no route", func(*corev1.Node) bool { return net.route("n2") == "" })
	mu.Lock()
	before := writes
	pressed = true
	mu.Unlock()
	clk.Step(11 * time.Second)
	await("memory pressure", func(o *corev1.Node) bool { return is(o, corev1.NodeMemoryPressure) == corev1.ConditionTrue })
	clk.Step(11 * time.Second)
	mu.Lock()
	defer mu.Unlock()
	if writes > before+1 {
		t.Errorf("%d writes for one change", writes-before)
	}
}
