package nodelife_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/nodelife"
)

func nodeIn(name, zone string, ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
}

// zones is a cluster of nodes in zones, as the controller sees it pass by pass.
type zones struct {
	*testing.T
	clock *clocktesting.FakeClock
	api   *fakecluster.Cluster
	r     *nodelife.Reconciler
	due   map[string]time.Time
}

func newZones(t *testing.T, eviction nodelife.Eviction, up, down map[string]int) *zones {
	clk := clocktesting.NewFakeClock(start)
	z := &zones{T: t, clock: clk, due: map[string]time.Time{}}
	var objects []client.Object
	for status, counts := range map[corev1.ConditionStatus]map[string]int{corev1.ConditionTrue: up, corev1.ConditionUnknown: down} {
		for zone, n := range counts {
			for i := range n {
				o := nodeIn(fmt.Sprintf("%s-%s-%d", zone, status, i), zone, status)
				objects = append(objects, o)
				z.due[o.Name] = start
			}
		}
	}
	z.api = fakecluster.New(clk, objects...)
	z.r = nodelife.NewReconciler(controller.Deps{Client: z.api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}, nil, eviction)
	return z
}

// after lets time pass, in which nodes are looked at when they asked for it, and
// counts the nodes that evict, by zone.
func (z *zones) after(d time.Duration) map[string]int {
	z.Helper()
	for end := z.clock.Now().Add(d); ; z.clock.Step(time.Second) {
		var names []string
		for name, at := range z.due {
			if !at.IsZero() && !at.After(z.clock.Now()) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			result, err := z.r.Reconcile(z.Context(), controller.Named("", name))
			if err != nil {
				z.Fatal(err)
			}
			z.due[name] = time.Time{}
			if result.RequeueAfter > 0 {
				z.due[name] = z.clock.Now().Add(result.RequeueAfter)
			}
		}
		if !z.clock.Now().Before(end) {
			break
		}
	}
	var list corev1.NodeList
	if err := z.api.List(z.Context(), &list); err != nil {
		z.Fatal(err)
	}
	count := map[string]int{}
	for _, n := range list.Items {
		if slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }) {
			count[n.Labels[corev1.LabelTopologyZone]]++
		}
		if n.Status.Conditions[0].Status == corev1.ConditionTrue != (len(n.Spec.Taints) == 0) {
			z.Errorf("node %s is Ready=%s and has taints %v", n.Name, n.Status.Conditions[0].Status, n.Spec.Taints)
		}
	}
	return count
}

// say lets a node's agent say that it is ready, or that it is not.
func (z *zones) say(name string, status corev1.ConditionStatus) {
	z.Helper()
	n := &corev1.Node{}
	if err := z.api.Get(z.Context(), client.ObjectKey{Name: name}, n); err != nil {
		z.Fatal(err)
	}
	n.Status.Conditions[0].Status = status
	if err := z.api.Status().Update(z.Context(), n); err != nil {
		z.Fatal(err)
	}
	z.due[name] = z.clock.Now()
}

func TestZonesGoAtTheirOwnPace(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		eviction nodelife.Eviction
		up, down map[string]int
		after    time.Duration
		want     map[string]int
	}{
		"the first at once":              {up: map[string]int{"a": 9}, down: map[string]int{"a": 3}, want: map[string]int{"a": 1}},
		"one in ten seconds":             {up: map[string]int{"a": 9}, down: map[string]int{"a": 3}, after: 11 * time.Second, want: map[string]int{"a": 2}},
		"each zone by itself":            {up: map[string]int{"a": 9, "b": 9}, down: map[string]int{"a": 3, "b": 3}, after: 11 * time.Second, want: map[string]int{"a": 2, "b": 2}},
		"two of three are no outage":     {up: map[string]int{"a": 1}, down: map[string]int{"a": 2}, after: time.Minute, want: map[string]int{"a": 2}},
		"a small zone that is down":      {up: map[string]int{"a": 1}, down: map[string]int{"a": 3}, after: time.Hour, want: map[string]int{}},
		"a large zone that is down":      {up: map[string]int{"a": 20}, down: map[string]int{"a": 40}, after: 150 * time.Second, want: map[string]int{"a": 2}},
		"a whole zone, and another up":   {up: map[string]int{"b": 1}, down: map[string]int{"a": 5}, after: 25 * time.Second, want: map[string]int{"a": 3}},
		"nobody is left":                 {down: map[string]int{"a": 2, "b": 2}, after: time.Hour, want: map[string]int{}},
		"as fast as the operator wishes": {eviction: nodelife.Eviction{Rate: 1}, up: map[string]int{"a": 9}, down: map[string]int{"a": 5}, after: 3 * time.Second, want: map[string]int{"a": 4}},
		"when the operator calls it down": {eviction: nodelife.Eviction{UnhealthyZone: 0.25, LargeZone: 9, SecondaryRate: 0.5}, up: map[string]int{"a": 9}, down: map[string]int{"a": 3},
			after: 3 * time.Second, want: map[string]int{"a": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := newZones(t, test.eviction, test.up, test.down)
			if diff := cmp.Diff(test.want, z.after(test.after)); diff != "" {
				t.Errorf("nodes that evict (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTheLastNodeTakesTheTaintsAway: when all are down it is not the nodes; when
// one comes back the others go on one by one.
func TestTheLastNodeTakesTheTaintsAway(t *testing.T) {
	t.Parallel()
	z := newZones(t, nodelife.Eviction{}, map[string]int{"a": 1}, map[string]int{"a": 2})
	expect := func(what string, after time.Duration, want map[string]int) {
		t.Helper()
		if diff := cmp.Diff(want, z.after(after)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	expect("two of three", time.Minute, map[string]int{"a": 2})
	z.say("a-True-0", corev1.ConditionUnknown)
	expect("all", time.Minute, map[string]int{})
	z.say("a-True-0", corev1.ConditionTrue)
	expect("one is back", 6*time.Second, map[string]int{"a": 1})
	expect("a while later", 15*time.Second, map[string]int{"a": 2})
}
