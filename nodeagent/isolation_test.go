package nodeagent_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// fakePolicies isolates pods once it is let.
type fakePolicies struct {
	mu       sync.Mutex // guards all
	err      error
	adopted  []string
	isolated map[types.UID][]netip.Addr
	tried    int
}

func (f *fakePolicies) Adopt(pods []*corev1.Pod, addresses map[types.UID][]netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.adopted = []string{}
	for _, p := range pods {
		f.adopted = append(f.adopted, p.Name+" "+addresses[p.UID][0].String())
	}
}

func (f *fakePolicies) Isolate(_ context.Context, pod *corev1.Pod, addresses []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tried++; f.err != nil {
		return f.err
	}
	f.isolated[pod.UID] = addresses
	return nil
}

func (f *fakePolicies) Update(*corev1.Pod) {}

func (f *fakePolicies) Release(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.isolated, uid)
}

func (f *fakePolicies) look(look func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	look()
}

func TestNoContainerRunsBeforeItsIsolation(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stop()
	f := &fakePolicies{err: errors.New("no policies yet"), isolated: map[types.UID][]netip.Addr{}}
	n.config.Policies = f
	n.start()
	n.create(newPod("web", "web:v1"))
	n.stepUntil(time.Second, "three tries", func() (done bool) { f.look(func() { done = f.tried >= 3 }); return done })
	if sandboxes, containers, err := n.runtime.List(t.Context()); err != nil || len(sandboxes) != 1 || len(containers) != 0 {
		t.Errorf("before its isolation the pod has %d containers, %v", len(containers), err)
	}
	f.look(func() { f.err = nil })
	n.stepUntil(time.Second, "ready", func() bool { return n.pod("web").Status.PodIP != "" && ready(n.pod("web")) })
	uid := n.pod("web").UID
	f.look(func() {
		if want := []netip.Addr{netip.MustParseAddr(n.pod("web").Status.PodIP)}; !slices.Equal(f.isolated[uid], want) {
			t.Errorf("isolated %v, want %v", f.isolated, want)
		}
	})
	n.stop()
	n.start()
	f.look(func() {
		if want := []string{"web " + n.pod("web").Status.PodIP}; !slices.Equal(f.adopted, want) {
			t.Errorf("adopted %v, want %v", f.adopted, want)
		}
	})
	n.remove("web")
	n.await("the pod to be gone", func() bool { return n.pod("web") == nil })
	f.look(func() {
		if len(f.isolated) != 0 {
			t.Errorf("left: %v", f.isolated)
		}
	})
}
