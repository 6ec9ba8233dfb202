package daemonset_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/daemonset"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// test is what a table test and a rapid check have in common.
type test interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// held keeps a deleted pod until the node has let it go.
const held = "emulated/node"

type world struct {
	test
	t       *testing.T
	api     *fakecluster.Cluster
	clock   *clocktesting.FakeClock
	r       *daemonset.Reconciler
	failing int // the write that is lost, counted down
}

var key = client.ObjectKey{Namespace: "kube-system", Name: "net"}

func set(change ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	labels := map[string]string{"app": "net"}
	s := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels}, RevisionHistoryLimit: ptr.To[int32](1),
			Template:       corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "net:1"}}}},
			UpdateStrategy: rolling(0, 1),
		},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func rolling(surge, unavailable int32) appsv1.DaemonSetUpdateStrategy {
	return appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
		MaxSurge: ptr.To(intstr.FromInt32(surge)), MaxUnavailable: ptr.To(intstr.FromInt32(unavailable)),
	}}
}

func surging(n int32) func(*appsv1.DaemonSet) {
	return func(s *appsv1.DaemonSet) { s.Spec.UpdateStrategy = rolling(n, 0) }
}

func image(name string) func(*appsv1.DaemonSet) {
	return func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.Containers[0].Image = name }
}

func node(name string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	for _, f := range change {
		f(n)
	}
	return n
}

func tainted(key string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
}

func newWorld(t *testing.T, with test, s *appsv1.DaemonSet, nodes ...string) *world {
	clk := clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	objects := []client.Object{s}
	for _, n := range nodes {
		objects = append(objects, node(n))
	}
	w := &world{test: with, t: t, clock: clk, api: fakecluster.New(clk, objects...)}
	w.api.BeforeCreate = func(o client.Object) error {
		if p, ok := o.(*corev1.Pod); ok {
			p.Finalizers = []string{held}
		}
		return w.fail()
	}
	w.api.BeforeDelete = func(client.Object) error { return w.fail() }
	w.r = daemonset.NewReconciler(controller.Deps{Client: w.api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}})
	return w
}

var errLost = errors.New("the connection was lost")

func (w *world) fail() error {
	w.failing--
	if w.failing == 0 {
		return errLost
	}
	return nil
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) get() *appsv1.DaemonSet {
	s := &appsv1.DaemonSet{}
	w.ok(w.api.Get(w.t.Context(), key, s))
	return s
}

func (w *world) edit(f func(*appsv1.DaemonSet)) {
	s := w.get()
	f(s)
	w.ok(w.api.Update(w.t.Context(), s))
}

func (w *world) pods() []*corev1.Pod {
	var list corev1.PodList
	w.ok(w.api.List(w.t.Context(), &list))
	var pods []*corev1.Pod
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return pods
}

func place(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	return p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
}

// show is each pod's node with its image, "!" when it is not ready, "-" when it goes.
func (w *world) show() []string {
	var shown []string
	for _, p := range w.pods() {
		text := place(p) + "=" + p.Spec.Containers[0].Image
		if p.DeletionTimestamp != nil {
			text += "-"
		} else if !podstate.IsReady(p) {
			text += "!"
		}
		shown = append(shown, text)
	}
	slices.Sort(shown)
	return shown
}

func (w *world) want(what string, want ...string) {
	w.Helper()
	if diff := cmp.Diff(want, w.show()); diff != "" {
		w.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func (w *world) phase(p *corev1.Pod, phase corev1.PodPhase, ready bool) {
	p.Status.Phase, p.Status.Conditions = phase, nil
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.clock.Now())}}
	}
	w.ok(w.api.Status().Update(w.t.Context(), p))
}

// move lets the scheduler and the node get on with a pod.
func (w *world) move(p *corev1.Pod) {
	switch {
	case p.DeletionTimestamp != nil:
		p.Finalizers = nil
		w.ok(w.api.Update(w.t.Context(), p))
	case p.Spec.NodeName == "":
		p.Spec.NodeName = place(p)
		w.ok(w.api.Update(w.t.Context(), p))
	case !podstate.IsReady(p) && !podstate.IsTerminal(p) && p.Spec.Containers[0].Image != "broken":
		w.phase(p, corev1.PodRunning, true)
	}
}

func (w *world) pass() time.Duration {
	w.Helper()
	result, err := w.r.Reconcile(w.t.Context(), controller.Named(key.Namespace, key.Name))
	if err != nil && !errors.Is(err, errLost) {
		w.Fatal(err)
	}
	return result.RequeueAfter
}

func (w *world) settle() {
	w.Helper()
	for range 300 {
		before := w.dump()
		w.pass()
		for _, p := range w.pods() {
			w.move(p)
		}
		if w.dump() == before {
			return
		}
	}
	w.Fatal("it never settles")
}

func (w *world) dump() string {
	text := w.get().ResourceVersion
	for _, p := range w.pods() {
		text += " " + p.Name + p.ResourceVersion
	}
	return text
}

// served are the nodes with an available pod.
func (w *world) served() int {
	nodes := map[string]bool{}
	for _, p := range w.pods() {
		if p.DeletionTimestamp == nil && podstate.IsReady(p) {
			nodes[place(p)] = true
		}
	}
	return len(nodes)
}

func TestJudge(t *testing.T) {
	t.Parallel()
	ssd := func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"} }
	tolerant := func(s *appsv1.DaemonSet) {
		s.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
	}
	named := func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.NodeName = "n2" }
	host := func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.HostNetwork = true }
	both := func(*appsv1.DaemonSet) {}
	for name, test := range map[string]struct {
		set       func(*appsv1.DaemonSet)
		node      *corev1.Node
		run, stay bool
	}{
		"plain":               {both, node("n1"), true, true},
		"selector":            {ssd, node("n1"), false, false},
		"selector met":        {ssd, node("n1", func(n *corev1.Node) { n.Labels["disk"] = "ssd" }), true, true},
		"taint":               {both, node("n1", tainted("gpu", corev1.TaintEffectNoSchedule)), false, true},
		"evicting taint":      {both, node("n1", tainted("gpu", corev1.TaintEffectNoExecute)), false, false},
		"tolerated":           {tolerant, node("n1", tainted("gpu", corev1.TaintEffectNoExecute)), true, true},
		"preference":          {both, node("n1", tainted("gpu", corev1.TaintEffectPreferNoSchedule)), true, true},
		"cordoned":            {both, node("n1", tainted(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)), true, true},
		"lost":                {both, node("n1", tainted(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)), true, true},
		"no network":          {both, node("n1", tainted(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)), false, true},
		"no network, host's":  {host, node("n1", tainted(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)), true, true},
		"another node's name": {named, node("n1"), false, false},
		"its node's name":     {named, node("n2"), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run, stay := daemonset.NewJudge(set(test.set)).Of(test.node)
			if run != test.run || stay != test.stay {
				t.Errorf("run %t stay %t, want %t and %t", run, stay, test.run, test.stay)
			}
		})
	}
}

func TestOnePodOnEachNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, set(), "n1", "n2")
	w.settle()
	w.want("one each", "n1=net:1", "n2=net:1")
	if diff := cmp.Diff(appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 2, CurrentNumberScheduled: 2, NumberReady: 2, NumberAvailable: 2, UpdatedNumberScheduled: 2}, w.get().Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	w.ok(w.api.Create(t.Context(), node("n3")))
	n1 := node("n1")
	w.ok(w.api.Get(t.Context(), client.ObjectKeyFromObject(n1), n1))
	tainted("gpu", corev1.TaintEffectNoExecute)(n1)
	w.ok(w.api.Update(t.Context(), n1))
	n2 := node("n2")
	w.ok(w.api.Get(t.Context(), client.ObjectKeyFromObject(n2), n2))
	tainted("gpu", corev1.TaintEffectNoSchedule)(n2)
	w.ok(w.api.Update(t.Context(), n2))
	w.settle()
	w.want("driven out, left alone, new", "n2=net:1", "n3=net:1")
	if s := w.get().Status; s.DesiredNumberScheduled != 1 || s.NumberMisscheduled != 1 || s.CurrentNumberScheduled != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestRollsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, set(), "n1", "n2", "n3")
	w.settle()
	w.edit(image("broken"))
	w.settle()
	w.want("stuck at the first", "n1=broken!", "n2=net:1", "n3=net:1")
	w.edit(image("net:1"))
	w.settle()
	w.want("back", "n1=net:1", "n2=net:1", "n3=net:1")
	for _, name := range []string{"net:2", "net:3", "net:4"} {
		w.edit(image(name))
		w.settle()
	}
	w.want("on", "n1=net:4", "n2=net:4", "n3=net:4")
	var all appsv1.ControllerRevisionList
	if err := w.api.List(t.Context(), &all); err != nil || len(all.Items) != 2 {
		t.Errorf("%d revisions (%v), want the one in use and one before", len(all.Items), err)
	}
}

func TestSurgeServesAllTheTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, set(surging(1)), "n1", "n2")
	w.settle()
	w.edit(image("net:2"))
	w.pass()
	w.want("a successor beside", "n1=net:1", "n1=net:2!", "n2=net:1")
	for range 30 {
		w.pass()
		if w.served() < 2 {
			t.Fatalf("a node was without: %v", w.show())
		}
		for _, p := range w.pods() {
			w.move(p)
		}
	}
	w.want("both new", "n1=net:2", "n2=net:2")
}

func TestOnDeleteWaitsForTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, set(func(s *appsv1.DaemonSet) {
		s.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	}), "n1")
	w.settle()
	w.edit(image("net:2"))
	w.settle()
	w.want("nothing moves", "n1=net:1")
	w.ok(w.api.Delete(t.Context(), w.pods()[0]))
	w.settle()
	w.want("new after deletion", "n1=net:2")
}

func TestFailedPodsAreReplacedSlowerAndSlower(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, set(), "n1")
	w.settle()
	w.phase(w.pods()[0], corev1.PodFailed, false)
	w.settle()
	w.want("at once", "n1=net:1")
	w.phase(w.pods()[0], corev1.PodFailed, false)
	if after := w.pass(); after != time.Second {
		t.Errorf("the next look is after %s, want 1s", after)
	}
	w.want("not yet", "n1=net:1!")
	w.clock.Step(time.Second + time.Millisecond)
	w.settle()
	w.want("again", "n1=net:1")
}

func TestPodsTolerateTheirNodesTroubles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t, set(func(s *appsv1.DaemonSet) {
		s.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "3"}
		s.Spec.Template.Spec.HostNetwork = true
	}), "n1")
	w.pass()
	p := w.pods()[0]
	var keys []string
	for _, t := range p.Spec.Tolerations {
		keys = append(keys, fmt.Sprint(t.Key, " ", t.Operator, " ", t.Effect))
	}
	slices.Sort(keys)
	want := []string{
		"node.kubernetes.io/disk-pressure Exists NoSchedule", "node.kubernetes.io/memory-pressure Exists NoSchedule", "node.kubernetes.io/network-unavailable Exists NoSchedule",
		"node.kubernetes.io/not-ready Exists NoExecute", "node.kubernetes.io/pid-pressure Exists NoSchedule", "node.kubernetes.io/unreachable Exists NoExecute",
		"node.kubernetes.io/unschedulable Exists NoSchedule",
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
	if p.Labels["pod-template-generation"] != "3" || p.Labels[appsv1.ControllerRevisionHashLabelKey] == "" {
		t.Errorf("labels %v", p.Labels)
	}
}

// TestKeepsItsPromises plays users, nodes, lost writes and late passes at random.
func TestKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		surge, unavailable := rapid.Int32Range(0, 2).Draw(rt, "surge"), int32(0)
		if surge == 0 {
			unavailable = rapid.Int32Range(1, 2).Draw(rt, "unavailable")
		}
		w := newWorld(t, rt, set(func(s *appsv1.DaemonSet) { s.Spec.UpdateStrategy = rolling(surge, unavailable) }), "n1", "n2", "n3")
		for range rapid.IntRange(0, 20).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"pass", "pass", "move", "move", "move", "edit", "fail", "unready", "lost"}).Draw(rt, "step") {
			case "pass":
				before := w.served()
				w.pass()
				if now := w.served(); now < before && now < 3-int(unavailable) {
					rt.Fatalf("%d nodes served, before %d: %v", now, before, w.show())
				}
				w.few(int(surge))
			case "move":
				if p := w.one(rt); p != nil {
					w.move(p)
				}
			case "edit":
				w.edit(image(rapid.SampledFrom([]string{"net:1", "net:2", "broken"}).Draw(rt, "image")))
			case "fail":
				if p := w.one(rt); p != nil && p.DeletionTimestamp == nil {
					w.phase(p, corev1.PodFailed, false)
				}
			case "unready":
				if p := w.one(rt); p != nil && p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
					w.phase(p, corev1.PodRunning, false)
				}
			case "lost":
				w.failing = rapid.IntRange(1, 3).Draw(rt, "write")
			}
		}
		w.failing = 0
		w.clock.Step(time.Hour)
		w.edit(image("net:9"))
		w.settle()
		w.want("calm", "n1=net:9", "n2=net:9", "n3=net:9")
		s := w.get()
		want := appsv1.DaemonSetStatus{ObservedGeneration: s.Generation, DesiredNumberScheduled: 3, CurrentNumberScheduled: 3, NumberReady: 3, NumberAvailable: 3, UpdatedNumberScheduled: 3}
		if diff := cmp.Diff(want, s.Status); diff != "" {
			rt.Fatalf("status (-want +got):\n%s", diff)
		}
	})
}

// few checks that no node has more pods than it may.
func (w *world) few(surge int) {
	count := map[string]int{}
	for _, p := range w.pods() {
		if podstate.IsActive(p) {
			count[place(p)]++
		}
	}
	for name, n := range count {
		if n > 1+min(surge, 1) {
			w.Fatalf("%d pods on %s: %v", n, name, w.show())
		}
	}
}

func (w *world) one(t *rapid.T) *corev1.Pod {
	pods := w.pods()
	if len(pods) == 0 {
		return nil
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return pods[rapid.IntRange(0, len(pods)-1).Draw(t, "pod")]
}
