package policy_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/nodeagent/network"
	"github.com/headway-sh/headway/nodeagent/policy"
	"github.com/headway-sh/headway/nodeagent/policy/emulator"
)

var packet = emulator.Packet{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("10.1.0.9"), Protocol: "tcp", Port: 80}

func db() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "db", UID: "db", Labels: map[string]string{"app": "db"}}}
}

// life is one run of an enforcer.
type life struct {
	*policy.Enforcer
	end func()
}

func begin(t *testing.T, api client.WithWatch, k policy.Kernel, file string, clk clock.WithTicker) life {
	t.Helper()
	e, err := policy.New(policy.Config{Client: api, Bridge: bridge, Kernels: []policy.Kernel{k}, File: file, Clock: clk, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return life{e, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}}
}

func allows(t *testing.T, k *emulator.Kernel) bool {
	t.Helper()
	ok, err := k.Allows(network.PolicyChain(bridge), packet)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// unreachable is an API that does not answer.
func unreachable() client.WithWatch {
	away := errors.New("no route to host")
	return interceptor.NewClient(fakecluster.New(clock.RealClock{}).WithWatch, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return away },
		Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
			return nil, away
		},
	})
}

var address = []netip.Addr{packet.Dst}

func TestPodIsIsolatedBeforeItStarts(t *testing.T) {
	t.Parallel()
	k, file := emulator.New(), filepath.Join(t.TempDir(), "policies.json")
	e := begin(t, fakecluster.New(clock.RealClock{}, allowing("closed", "db")), k, file, clock.RealClock{})
	e.Adopt(nil, nil)
	if err := e.Isolate(t.Context(), db(), address); err != nil {
		t.Fatal(err)
	}
	e.end()
	if allows(t, k) {
		t.Error("the pod is open")
	}

	// An agent that starts anew leaves what is there until it knows better.
	e = begin(t, unreachable(), k, filepath.Join(t.TempDir(), "none"), clock.RealClock{})
	e.Adopt(nil, nil)
	e.end()
	if allows(t, k) {
		t.Error("a start without a server opened the pod")
	}
	// With what the last one kept it isolates a pod without any server.
	fresh := emulator.New()
	e = begin(t, unreachable(), fresh, file, clock.RealClock{})
	e.Adopt(nil, nil)
	if err := e.Isolate(t.Context(), db(), address); err != nil {
		t.Fatal(err)
	}
	e.end()
	if allows(t, fresh) {
		t.Error("without a server the pod is open")
	}
	// Adopted pods are isolated from the first write on, released ones are not.
	adopted := db()
	has := map[types.UID][]netip.Addr{adopted.UID: {packet.Dst}}
	e = begin(t, unreachable(), k, file, clock.RealClock{})
	e.Adopt([]*corev1.Pod{adopted}, has)
	other := db()
	other.UID = "other"
	if err := e.Isolate(t.Context(), other, []netip.Addr{netip.MustParseAddr("10.1.0.10")}); err != nil {
		t.Fatal(err)
	}
	e.end()
	if allows(t, k) {
		t.Error("the adopted pod is open")
	}
	e = begin(t, unreachable(), k, file, clock.RealClock{})
	e.Adopt([]*corev1.Pod{adopted}, has)
	changed := db()
	changed.Labels = map[string]string{"app": "web"}
	e.Update(changed)
	if err := e.Isolate(t.Context(), other, []netip.Addr{netip.MustParseAddr("10.1.0.10")}); err != nil {
		t.Fatal(err)
	}
	e.end()
	if !allows(t, k) {
		t.Error("a pod that no policy selects any more is closed")
	}
}

func TestNothingStartsWhileItsIsolationIsUnknownOrFails(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(time.Now())
	e := begin(t, unreachable(), emulator.New(), filepath.Join(t.TempDir(), "none"), clk)
	e.Adopt(nil, nil)
	failed := make(chan error, 1)
	go func() { failed <- e.Isolate(t.Context(), db(), address) }()
	for {
		select {
		case err := <-failed:
			if err == nil {
				t.Error("a pod may start although nobody knows the policies")
			}
			e.end()
			broken := emulator.New()
			injected := errors.New("injected")
			broken.Fail = func(string) error { return injected }
			e = begin(t, fakecluster.New(clock.RealClock{}, allowing("closed", "db")), broken, filepath.Join(t.TempDir(), "none"), clock.RealClock{})
			e.Adopt(nil, nil)
			if err := e.Isolate(t.Context(), db(), address); !errors.Is(err, injected) {
				t.Errorf("with a kernel that refuses: %v", err)
			}
			e.end()
			return
		default:
			clk.Step(time.Second)
		}
	}
}
