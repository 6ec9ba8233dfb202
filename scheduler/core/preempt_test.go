package core_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/scheduler/core"
)

// loss is what the reference would give up on one node, in the order in which
// nodes are compared; the least is the best.
type loss struct {
	node    string
	victims []string
	cost    [5]int64
}

// losses tries preemption on every node, with plain copies of the cluster.
func (r *reference) losses(p *corev1.Pod, budgets map[string]int32) map[string]loss {
	all := map[string]loss{}
	for name, n := range r.nodes {
		less := &reference{nodes: r.nodes, pods: maps.Clone(r.pods), namespaces: r.namespaces}
		var lower []*corev1.Pod
		for _, other := range r.on(name) {
			if *other.Spec.Priority < *p.Spec.Priority {
				lower = append(lower, other)
				delete(less.pods, other.Name)
			}
		}
		if len(lower) == 0 || len(less.refuse(p, n)) > 0 {
			continue
		}
		slices.SortFunc(lower, func(a, b *corev1.Pod) int {
			return cmp.Or(cmp.Compare(*b.Spec.Priority, *a.Spec.Priority), a.Status.StartTime.Compare(b.Status.StartTime.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
		left, protected := maps.Clone(budgets), map[string]bool{}
		for _, v := range lower {
			if _, ok := left[v.Labels["app"]]; ok && v.Namespace == "shop" {
				left[v.Labels["app"]]--
				protected[v.Name] = left[v.Labels["app"]] < 0
			}
		}
		found := loss{node: name}
		for _, first := range []bool{true, false} {
			for _, v := range lower {
				if protected[v.Name] != first {
					continue
				}
				if less.pods[v.Name] = v; len(less.refuse(p, n)) == 0 {
					continue
				}
				delete(less.pods, v.Name)
				found.victims = append(found.victims, v.Name)
			}
		}
		found.weigh(lower, protected)
		all[name] = found
	}
	return all
}

func (l *loss) weigh(lower []*corev1.Pod, protected map[string]bool) {
	l.cost[1], l.cost[4] = -1<<62, -1<<62
	for _, v := range lower { // the most important first, the oldest of them before
		if !slices.Contains(l.victims, v.Name) {
			continue
		}
		if protected[v.Name] {
			l.cost[0]++
		}
		if l.cost[3] == 0 {
			l.cost[1], l.cost[4] = int64(*v.Spec.Priority), -v.Status.StartTime.UnixNano()
		}
		l.cost[2] += int64(*v.Spec.Priority) + 1<<31
		l.cost[3]++
	}
}

// TestPreemptsAsTheReference fills random clusters until a pod does not fit,
// and compares who would have to go.
func TestPreemptsAsTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := core.NewState(rapid.Uint64().Draw(t, "seed"))
		r := &reference{nodes: map[string]*corev1.Node{}, pods: map[string]*corev1.Pod{}}
		for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
			n := drawNode(t, fmt.Sprint("n", i))
			s.SetNode(n)
			r.nodes[n.Name] = n
		}
		budgets := map[string]int32{}
		if rapid.Bool().Draw(t, "budget") {
			budgets["web"] = int32(rapid.IntRange(0, 2).Draw(t, "allowed"))
			s.SetBudget("shop", "web", &core.Budget{Namespace: "shop", Selector: labels.SelectorFromSet(labels.Set{"app": "web"}), Allowed: budgets["web"]})
		}
		for i := range rapid.IntRange(1, 30).Draw(t, "pods") {
			p := drawPod(t, fmt.Sprint("p", i))
			p.Spec.Priority = ptr.To(rapid.Int32Range(-1, 3).Draw(t, "priority"))
			p.Status.StartTime = &metav1.Time{Time: time.Unix(int64(rapid.IntRange(1, 3).Draw(t, "start")), 0)}
			asked := prepared(t, p)
			d := s.Decide(asked)
			if d.Node != "" {
				s.Place(asked, d.Node)
				r.pods[p.Name] = p.DeepCopy()
				r.pods[p.Name].Spec.NodeName = d.Node
				continue
			}
			preempt(t, s, r, asked, budgets)
		}
	})
}

func preempt(t *rapid.T, s *core.State, r *reference, p *core.Pod, budgets map[string]int32) {
	refused := s.Decide(p)
	plan := s.Preempt(p, refused)
	if again := s.Preempt(p, refused); again.Node != plan.Node || again.Message() != plan.Message() {
		t.Fatalf("two answers: %q %s and %q %s", plan.Node, plan.Message(), again.Node, again.Message())
	}
	if again := s.Decide(p); again.Node != "" {
		t.Fatalf("the search has changed the state: %+v", again)
	}
	all := r.losses(p.Object, budgets)
	if len(all) == 0 {
		if plan.Node != "" {
			t.Fatalf("%s preempts %d on %q, where the reference has no hope", p.Object.Name, len(plan.Victims), plan.Node)
		}
		return
	}
	best := slices.MinFunc(slices.Collect(maps.Values(all)), func(a, b loss) int { return slices.Compare(a.cost[:], b.cost[:]) })
	got := all[plan.Node]
	var victims []string
	for _, v := range plan.Victims {
		victims = append(victims, v.Object.Name)
	}
	slices.Sort(victims)
	slices.Sort(got.victims)
	if diff := gocmp.Diff(got.victims, victims); diff != "" || got.cost != best.cost {
		t.Fatalf("%s on %q costs %v, best %v on %q; victims (-want +got):\n%s", p.Object.Name, plan.Node, got.cost, best.cost, best.node, diff)
	}
	for _, v := range plan.Victims {
		s.Remove(v.UID)
	}
	s.Nominate(p, plan.Node)
	if d := s.Decide(p); d.Node != plan.Node {
		t.Fatalf("%s is refused what it was promised: %s", p.Object.Name, d.Message())
	}
	for _, v := range plan.Victims {
		s.Place(v, plan.Node)
	}
	s.Unnominate(p.UID)
}

// TestThePromisedNodeHasGone: pods still name it.
func TestThePromisedNodeHasGone(t *testing.T) {
	t.Parallel()
	s := core.NewState(1)
	s.SetNode(node("n", "2", "8Gi"))
	s.Place(prepared(t, pod("a", "1")), "n")
	s.Place(prepared(t, pod("b", "1")), "n")
	p := prepared(t, pod("p", "1", func(p *corev1.Pod) { p.Spec.Priority = ptr.To(int32(5)) }))
	s.Nominate(p, "n")
	s.RemoveNode("n")
	if plan := s.Preempt(p, s.Decide(p)); plan.Node != "" || plan.Message() != "preemption: no nodes available to schedule pods" {
		t.Errorf("on %q: %s", plan.Node, plan.Message())
	}
}

// TestWhatIfsAreNoChanges: after a look at what would be, nodes are not rated
// anew; and nobody looks for victims where none would help.
func TestWhatIfsAreNoChanges(t *testing.T) {
	t.Parallel()
	with := func(name, cpu string, priority int32) *core.Pod {
		return prepared(t, pod(name, cpu, func(p *corev1.Pod) { p.Spec.Priority = &priority }))
	}
	asked, why := 0, ""
	s := core.NewState(1)
	s.SetProfiles(core.Profile{Name: core.DefaultProfile, Filters: []core.FilterPlugin{{
		Name: "Count", Helps: core.NodeLabelled, Filter: func(*corev1.Pod, *core.Node) string {
			asked++
			return why
		},
	}}})
	for _, name := range []string{"n", "m"} {
		s.SetNode(node(name, "2", "8Gi"))
		s.Place(with("on "+name, "1", 1), name)
		s.Nominate(with("promised "+name, "1", 5), name)
	}
	expect := func(what string, want int, f func()) {
		t.Helper()
		asked = 0
		if f(); asked != want {
			t.Errorf("%s: %d nodes looked at, want %d", what, asked, want)
		}
	}
	low, high := with("low", "1", 1), with("high", "2", 5)
	var d core.Decision
	expect("two nodes, both full once the promised have come", 2, func() { d = s.Decide(low) })
	expect("nothing has changed", 0, func() { s.Decide(low) })
	expect("no victims", 2, func() { s.Preempt(low, d) })
	expect("a search that found nothing, again", 0, func() { s.Preempt(low, d) })
	s.Preempt(high, s.Decide(high))
	expect("after a search", 0, func() { s.Decide(low) })
	why = "node(s) are odd"
	s.SetNode(node("n", "4", "8Gi"))
	s.SetNode(node("m", "4", "8Gi"))
	expect("both are odd now", 2, func() { d = s.Decide(low) })
	expect("no victim would help", 0, func() {
		if plan := s.Preempt(low, d); plan.Message() != "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling." {
			t.Error(plan.Message())
		}
	})
}

// TestPromisedRoomIsKept: not taken by pods of lower priority, but by higher.
func TestPromisedRoomIsKept(t *testing.T) {
	t.Parallel()
	with := func(name string, priority int32) *core.Pod {
		return prepared(t, pod(name, "2", func(p *corev1.Pod) { p.Spec.Priority = &priority }))
	}
	s := core.NewState(1)
	s.SetNode(node("n", "2", "8Gi"))
	promised := with("promised", 5)
	s.Nominate(promised, "n")
	for priority, want := range map[int32]string{4: "", 5: "", 6: "n"} {
		if d := s.Decide(with("other", priority)); d.Node != want {
			t.Errorf("priority %d goes to %q, want %q: %s", priority, d.Node, want, d.Message())
		}
	}
	s.SetNode(node("m", "2", "8Gi"))
	if d := s.Decide(with("other", 4)); d.Node != "m" {
		t.Errorf("beside the promise: %q", d.Node)
	}
	if d := s.Decide(promised); d.Node != "n" {
		t.Errorf("promised n, goes to %q", d.Node)
	}
	s.Unnominate(types.UID("promised"))
	s.RemoveNode("m")
	if d := s.Decide(with("other", 4)); d.Node != "n" {
		t.Errorf("after the promise: %q", d.Node)
	}
}

// BenchmarkRefuse is the refusal of one of many pods that are alike, on 5,000
// full nodes, with the search for victims that there are none of.
func BenchmarkRefuse(b *testing.B) {
	s := benchState()
	for i := range benchNodes {
		s.Place(prepared(b, pod(fmt.Sprint("p", i), "4")), fmt.Sprint("n", i))
	}
	p := prepared(b, pod("another", "1"))
	for b.Loop() {
		d := s.Decide(p)
		if plan := s.Preempt(p, d); d.Node != "" || plan.Node != "" {
			b.Fatal("placed")
		}
	}
}
