package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/proxy"
	"github.com/headway-sh/headway/proxy/rules"
)

// heard is a backend that tells what it is set.
type heard chan rules.Update

func (h heard) Set(u rules.Update)         { h <- u }
func (h heard) Sync(context.Context) error { return nil }

// The rights that examples/proxy-daemonset gives are what the proxy needs.
func TestProxyUnderTheDaemonSetsAccount(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	log := slog.New(slog.DiscardHandler)
	api, err := apiserver.Start(ctx, apiserver.Config{DataDir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: log})
	ok(t, err)
	admin := api.Peer(apiserver.Masters).Client()
	text, err := os.ReadFile("../../examples/proxy-daemonset/proxy.yaml")
	ok(t, err)
	kinds := map[string]int{}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var o unstructured.Unstructured
		ok(t, yaml.Unmarshal(document, &o.Object))
		ok(t, admin.Create(ctx, &o)) // the DaemonSet, too, is one that the API takes
		kinds[o.GetKind()]++
	}
	if kinds["DaemonSet"] != 1 || kinds["ClusterRole"] != 1 {
		t.Fatalf("the example has %v", kinds)
	}
	ok(t, admin.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "z1"}}}))
	watched := api.Peer(authn.ServiceAccount("kube-system", "headway-proxy")).Cache()
	updates := make(heard, 100)
	labels := labelsFrom(ctx, watched, "n1", log)
	p, err := proxy.New(proxy.Config{Cache: watched, NodeName: "n1", NodeLabels: labels, Backends: map[corev1.IPFamily]rules.Backend{corev1.IPv4Protocol: updates}, Clock: clock.RealClock{}, Logger: log})
	ok(t, err)
	running, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- runAll(running, log, []component{{"api", api.Run}, {"cache", watched.Start}, {"proxy", p.Run}})
	}()
	defer func() {
		end()
		ok(t, <-done)
	}()
	ok(t, admin.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}))
	for {
		select {
		case u := <-updates:
			if u.Key == "default/web" && len(u.Rows) == 1 && u.Rows[0].IP.Is4() {
				if zone := labels()[corev1.LabelTopologyZone]; zone != "z1" {
					t.Errorf("zone %q", zone)
				}
				return
			}
		case <-ctx.Done():
			t.Fatal("the proxy has not heard of the service")
		}
	}
}
