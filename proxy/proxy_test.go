package proxy_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"github.com/headway-sh/headway/proxy"
	"github.com/headway-sh/headway/proxy/backendtest"
	"github.com/headway-sh/headway/proxy/iptables"
	"github.com/headway-sh/headway/proxy/iptables/emulator"
	"github.com/headway-sh/headway/proxy/rules"
)

// kernel tells the test when rules were written.
type kernel struct {
	mu sync.Mutex // guards the emulator
	*emulator.Kernel
	restored chan struct{}
}

func (k *kernel) Restore(ctx context.Context, input string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.Kernel.Restore(ctx, input)
	if err == nil {
		k.restored <- struct{}{}
	}
	return err
}

func (k *kernel) send(p backendtest.Packet) backendtest.Fate {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.Send(p, func(int) bool { return true })
}

var vip = netip.MustParseAddrPort("10.96.0.20:80")

func service() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.20", Ports: []corev1.ServicePort{{Port: 80}}}}
}

func slice(ips ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To[int32](8080)}}}
	for _, ip := range ips {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	return s
}

// rig is a running proxy on a fake watch and an emulated kernel.
type rig struct {
	kernel              *kernel
	services, endpoints *controllertest.FakeInformer
}

func start(t *testing.T, own ...netip.Addr) *rig {
	t.Helper()
	informers := &informertest.FakeInformers{}
	r := &rig{kernel: &kernel{Kernel: emulator.New(), restored: make(chan struct{}, 100)}}
	var err1, err2 error
	r.services, err1 = informers.FakeInformerFor(t.Context(), &corev1.Service{})
	r.endpoints, err2 = informers.FakeInformerFor(t.Context(), &discoveryv1.EndpointSlice{})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*controllertest.FakeInformer{r.services, r.endpoints} {
		if !f.HasSynced() {
			f.Synced()
		}
	}
	p, err := proxy.New(proxy.Config{Cache: informers, NodeName: "n1", Own: own,
		Backends: map[corev1.IPFamily]rules.Backend{corev1.IPv4Protocol: iptables.NewTable(iptables.Config{Kernel: r.kernel, Cluster: netip.MustParsePrefix("10.244.0.0/16")})},
		Clock:    clock.RealClock{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-p.Synced()
	return r
}

// until waits for writes of rules until a packet's fate is as wanted.
func (r *rig) until(t *testing.T, want backendtest.Fate) {
	t.Helper()
	packet := backendtest.Packet{Src: netip.MustParseAddr("10.244.0.9"), Dst: vip, Protocol: "tcp"}
	for got := r.kernel.send(packet); got != want; got = r.kernel.send(packet) {
		select {
		case <-r.kernel.restored:
		case <-t.Context().Done():
			t.Fatalf("the packet's fate is %+v, want %+v", got, want)
		}
	}
}

func TestRulesFollowServicesAndEndpoints(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.services.Add(service())
	r.until(t, backendtest.Fate{To: vip, Rejected: true})
	r.endpoints.Add(slice("10.244.0.5"))
	r.until(t, backendtest.Fate{To: netip.MustParseAddrPort("10.244.0.5:8080")})
	r.endpoints.Update(slice("10.244.0.5"), slice("10.244.0.7"))
	r.until(t, backendtest.Fate{To: netip.MustParseAddrPort("10.244.0.7:8080")})
	r.endpoints.Delete(slice("10.244.0.7"))
	r.until(t, backendtest.Fate{To: vip, Rejected: true})
	r.services.Delete(service())
	r.until(t, backendtest.Fate{To: vip})
}

func TestOwnAddressesGetNoRules(t *testing.T) {
	t.Parallel()
	r := start(t, vip.Addr())
	other := service()
	other.Name, other.Spec.ClusterIP = "other", "10.96.0.21"
	r.services.Add(service())
	r.services.Add(other)
	packet := backendtest.Packet{Src: netip.MustParseAddr("10.244.0.9"), Dst: netip.MustParseAddrPort("10.96.0.21:80"), Protocol: "tcp"}
	for !r.kernel.send(packet).Rejected {
		<-r.kernel.restored
	}
	r.until(t, backendtest.Fate{To: vip})
}
