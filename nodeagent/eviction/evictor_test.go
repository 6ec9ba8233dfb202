package eviction_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/nodeagent/eviction"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a machine whose memory and disk are what its pods and images leave.
type node struct {
	mu      sync.Mutex // guards all below
	free    map[eviction.Signal]int64
	pods    []eviction.Pod
	leaving map[types.UID]bool
	images  []int64 // what removing pulled images, then loaded ones, gives back
	events  []string
}

func (n *node) Observe(context.Context) (eviction.Observations, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := eviction.Observations{}
	for s, free := range n.free {
		all[s] = eviction.Observation{Available: free, Capacity: 100}
	}
	return all, nil
}

func (n *node) Pods() []*corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*corev1.Pod
	for _, p := range n.pods {
		all = append(all, p.Pod)
	}
	return all
}

func (n *node) Leaving(uid types.UID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leaving[uid]
}

func (n *node) Measure(_ context.Context, pod *corev1.Pod, _ bool) eviction.Usage {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pods[slices.IndexFunc(n.pods, func(p eviction.Pod) bool { return p.UID == pod.UID })].Usage
}

func (n *node) ReclaimImages(_ context.Context, loaded bool) error {
	n.tell("images, loaded too: %v", loaded)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.free[eviction.ImageAvailable] += n.images[0]
	n.images = n.images[1:]
	return nil
}

func (n *node) Evict(uid types.UID, _ string, grace time.Duration) {
	n.tell("evict %s in %s", uid, grace)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaving[uid] = true
}

func (n *node) Told(conditions bool, _ *eviction.Threshold) {
	if conditions {
		n.tell("conditions")
	}
}

func (n *node) tell(format string, arguments ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, fmt.Sprintf(format, arguments...))
}

// take gives what has happened.
func (n *node) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.events
	n.events = nil
	return all
}

func run(t *testing.T, n *node, hard, soft, grace string) (next func(d time.Duration, change func()) []string) {
	t.Helper()
	thresholds, err := eviction.Parse(hard, soft, grace, "")
	if err != nil {
		t.Fatal(err)
	}
	n.leaving = map[types.UID]bool{}
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	e, err := eviction.New(eviction.Config{Node: n, Conditions: &eviction.Conditions{}, Thresholds: thresholds, MaxGrace: 20 * time.Second, Clock: clk, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return func(d time.Duration, change func()) []string {
		if change != nil {
			n.mu.Lock()
			change()
			n.mu.Unlock()
		}
		clk.Step(d)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // one look
		if err := e.Run(ctx); err != nil {
			t.Fatal(err)
		}
		return n.take()
	}
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

func TestOnePodAtATime(t *testing.T) {
	t.Parallel()
	n := &node{free: map[eviction.Signal]int64{eviction.MemoryAvailable: 50}, pods: []eviction.Pod{pod("a", 0, 0, 10, 0), pod("b", 0, 0, 20, 0), pod("c", 1, 0, 90, 0)}}
	next := run(t, n, "memory.available<10%", "", "")
	expect(t, "enough", next(0, nil))
	expect(t, "too little", next(10*time.Second, func() { n.free[eviction.MemoryAvailable] = 5 }), "conditions", "evict b in 1s")
	expect(t, "the first is still going", next(10*time.Second, nil))
	expect(t, "the first is gone", next(10*time.Second, func() { n.pods = n.pods[:1:1] }), "evict a in 1s")
	expect(t, "it does not go", next(31*time.Second, func() { n.pods = append(n.pods, pod("d", 0, 0, 1, 0)) }), "evict d in 1s")
	expect(t, "enough again", next(10*time.Second, func() { n.free[eviction.MemoryAvailable] = 50 }))
	expect(t, "long enough", next(6*time.Minute, nil), "conditions")
}

func TestSoftThresholdsGiveGrace(t *testing.T) {
	t.Parallel()
	n := &node{free: map[eviction.Signal]int64{eviction.MemoryAvailable: 5}, pods: []eviction.Pod{pod("a", 0, 0, 10, 0)}}
	next := run(t, n, "", "memory.available<10%", "memory.available=1m")
	expect(t, "met", next(0, nil), "conditions")
	expect(t, "for long", next(time.Minute, nil), "evict a in 20s")
}

// TestImagesGoFirst removes images before any pod, those that were loaded last.
func TestImagesGoFirst(t *testing.T) {
	t.Parallel()
	n := &node{free: map[eviction.Signal]int64{eviction.ImageAvailable: 5}, pods: []eviction.Pod{pod("a", 0, 0, 0, 10), pod("b", 0, 0, 0, 20)}, images: []int64{20, 0, 20, 0, 0}}
	next := run(t, n, "imagefs.available<15%", "", "")
	expect(t, "pulled ones are enough", next(0, nil), "conditions", "images, loaded too: false")
	expect(t, "both are", next(time.Second, func() { n.free[eviction.ImageAvailable] = 5 }), "images, loaded too: false", "images, loaded too: true")
	expect(t, "neither", next(time.Second, func() { n.free[eviction.ImageAvailable] = 5 }), "images, loaded too: false", "images, loaded too: true", "evict b in 1s")
}

func TestLimitsOfPods(t *testing.T) {
	t.Parallel()
	p := pod("a", 0, 0, 0, 60)
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("50Mi")}
	n := &node{free: map[eviction.Signal]int64{}, pods: []eviction.Pod{p, pod("b", 0, 0, 0, 600)}}
	next := run(t, n, "", "", "")
	expect(t, "above", next(0, nil), "evict a in 1s")
	expect(t, "it is going", next(time.Second, nil))
}
