package inproc_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
)

func service(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func nodePort(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }

// serviceRig has 14 addresses, of which the first is the API's, and 16 ports.
func serviceRig(t *testing.T) (client.Client, *rig) {
	r := newRig(t, nil, admission.Steps(admission.Config{ServiceCIDR: netip.MustParsePrefix("10.9.0.0/28"), FirstNodePort: 30000, LastNodePort: 30015})...)
	c := r.peer("alice").Client()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return c, r
}

func addresses(t *testing.T, c client.Client) int {
	t.Helper()
	var all networkingv1.IPAddressList
	if err := c.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	return len(all.Items)
}

func TestServiceAddresses(t *testing.T) {
	t.Parallel()
	c, _ := serviceRig(t)
	ctx := t.Context()
	kubernetes := service("kubernetes")
	if err := c.Create(ctx, kubernetes); err != nil || kubernetes.Spec.ClusterIP != "10.9.0.1" {
		t.Fatalf("kubernetes: %v, %s", err, kubernetes.Spec.ClusterIP)
	}
	web := service("web", nodePort)
	if err := c.Create(ctx, web); err != nil || web.Spec.ClusterIPs[0] != web.Spec.ClusterIP || web.Spec.Ports[0].NodePort < 30000 {
		t.Fatalf("web: %v, %+v", err, web.Spec)
	}
	port, ip := web.Spec.Ports[0].NodePort, web.Spec.ClusterIP

	errs := map[string]*corev1.Service{
		fmt.Sprintf(`Service "taken" is invalid: spec.clusterIPs[0]: Invalid value: ["%s"]: failed to allocate IP %s: provided IP is already allocated`, ip, ip):                                                     service("taken", func(s *corev1.Service) { s.Spec.ClusterIP = ip }),
		`Service "outside" is invalid: spec.clusterIPs[0]: Invalid value: ["10.8.0.1"]: failed to allocate IP 10.8.0.1: the provided IP (10.8.0.1) is not in the valid range. The range of valid IPs is 10.9.0.0/28`: service("outside", func(s *corev1.Service) { s.Spec.ClusterIP = "10.8.0.1" }),
		fmt.Sprintf(`Service "port" is invalid: spec.ports[0].nodePort: Invalid value: %d: provided port is already allocated`, port):                                                                                service("port", nodePort, func(s *corev1.Service) { s.Spec.Ports[0].NodePort = port }),
		`Service "low" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-30015`:                                                      service("low", nodePort, func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 80 }),
	}
	for want, s := range errs {
		if err := c.Create(ctx, s); !apierrors.IsInvalid(err) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	// An update that leaves the addresses out keeps them.
	again := service("web", nodePort)
	again.Labels = map[string]string{"a": "b"}
	if err := c.Update(ctx, again); err != nil || again.Spec.ClusterIP != ip || again.Spec.Ports[0].NodePort != port {
		t.Errorf("update: %v, %+v", err, again.Spec)
	}
	headless := service("headless", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	if err := c.Create(ctx, headless); err != nil || addresses(t, c) != 2 {
		t.Errorf("headless: %v, %d addresses", err, addresses(t, c))
	}
	// What is released can be taken again.
	if err := errors.Join(c.Delete(ctx, again), c.Create(ctx, service("next", nodePort, func(s *corev1.Service) {
		s.Spec.ClusterIP, s.Spec.Ports[0].NodePort = ip, port
	}))); err != nil || addresses(t, c) != 2 {
		t.Errorf("released: %v, %d addresses", err, addresses(t, c))
	}
	// In one plan: delete one, and give its address to another.
	_, _, err := txnRun(ctx, t, c, []txn.Change{
		{Verb: txn.Delete, Ref: serviceRef("next")},
		{Verb: txn.Create, Ref: serviceRef("heir"), Object: service("heir", nodePort, func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.Ports[0].NodePort = ip, port
		})},
	})
	if err != nil {
		t.Errorf("heir: %v", err)
	}
}

func serviceRef(name string) txn.Ref {
	return txn.Ref{Resource: corev1.Resource("services"), Namespace: "default", Name: name}
}

// txnRun commits changes through the transaction contract of a client's peer.
func txnRun(ctx context.Context, t *testing.T, c client.Client, changes []txn.Change) (*txn.Result, *txn.Committed, error) {
	t.Helper()
	peer, ok := c.(interface{ Txn() txn.Interface })
	if !ok {
		t.Fatal("the client has no transactions")
	}
	return txn.Run(ctx, peer.Txn(), txn.Identity{}, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) { return changes, nil })
}

// TestAddressesAreNeverUsedTwice lets many writers fight for few addresses.
func TestAddressesAreNeverUsedTwice(t *testing.T) {
	t.Parallel()
	c, _ := serviceRig(t)
	const writers = 20
	var wg sync.WaitGroup
	made := make([]*corev1.Service, writers)
	for i := range writers {
		wg.Go(func() {
			s := service(fmt.Sprintf("s%d", i), nodePort)
			if err := c.Create(t.Context(), s); err == nil {
				made[i] = s
			} else if !apierrors.IsInvalid(err) && !apierrors.IsConflict(err) {
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
	ips, ports, count := map[string]bool{}, map[int32]bool{}, 0
	for _, s := range made {
		if s == nil {
			continue
		}
		count++
		if ips[s.Spec.ClusterIP] || ports[s.Spec.Ports[0].NodePort] {
			t.Errorf("%s or %d was given twice", s.Spec.ClusterIP, s.Spec.Ports[0].NodePort)
		}
		ips[s.Spec.ClusterIP], ports[s.Spec.Ports[0].NodePort] = true, true
	}
	if count != 13 || addresses(t, c) != count {
		t.Errorf("%d services, %d addresses; want 13: 14 without the API's own", count, addresses(t, c))
	}
}
