package statefulset_test

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
	"github.com/headway-sh/headway/reconciler/podstate"
	"github.com/headway-sh/headway/reconciler/statefulset"
)

// test is what a table test and a rapid check have in common.
type test interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// onNode holds a deleted pod until the node has let it go.
const onNode = "emulated/node"

// world is an emulated API with one set, and a node that is moved by hand.
type world struct {
	test
	t     *testing.T
	api   *fakecluster.Cluster
	clock *clocktesting.FakeClock
	r     *statefulset.Reconciler
	// failing refuses the write when it counts down to 0.
	failing int
}

var key = client.ObjectKey{Namespace: "shop", Name: "db"}

func db(replicas int32, change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	labels := map[string]string{"app": "db"}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To(replicas), Selector: &metav1.LabelSelector{MatchLabels: labels}, ServiceName: "db",
			PodManagementPolicy: appsv1.OrderedReadyPodManagement, RevisionHistoryLimit: ptr.To[int32](2),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "db:1"}}},
			},
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{
				Partition: ptr.To[int32](0), MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			}},
		},
	}
	for _, f := range change {
		f(set)
	}
	return set
}

func parallel(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }

func claims(s *appsv1.StatefulSet) {
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
}

func partition(n int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = &n }
}

func image(name string) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = name }
}

func newWorld(t *testing.T, with test, set *appsv1.StatefulSet) *world {
	clk := clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	w := &world{test: with, t: t, clock: clk, api: fakecluster.New(clk, set)}
	w.api.BeforeCreate = func(o client.Object) error {
		if p, ok := o.(*corev1.Pod); ok {
			p.Finalizers = []string{onNode}
		}
		return w.fail()
	}
	w.api.BeforeDelete = func(client.Object) error { return w.fail() }
	w.r = &statefulset.Reconciler{Deps: controller.Deps{Client: w.api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}}
	return w
}

var errLost = errors.New("the connection was lost")

// fail counts down to the write that goes wrong.
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

func (w *world) set() *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{}
	w.ok(w.api.Get(w.t.Context(), key, s))
	return s
}

func (w *world) edit(f func(*appsv1.StatefulSet)) {
	s := w.set()
	f(s)
	w.ok(w.api.Update(w.t.Context(), s))
}

// pods are by name.
func (w *world) pods() map[string]*corev1.Pod {
	var list corev1.PodList
	w.ok(w.api.List(w.t.Context(), &list))
	pods := map[string]*corev1.Pod{}
	for i := range list.Items {
		pods[list.Items[i].Name] = &list.Items[i]
	}
	return pods
}

// show is each pod with its image, and "!" when it is not ready, "-" when it goes.
func (w *world) show() []string {
	var shown []string
	for name, p := range w.pods() {
		text := name + "=" + p.Spec.Containers[0].Image
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

// node lets one pod get on: away when it is deleted, else ready unless its
// image is broken.
func (w *world) node(p *corev1.Pod) {
	switch {
	case p.DeletionTimestamp != nil:
		p.Finalizers = nil
		w.ok(w.api.Update(w.t.Context(), p))
	case !podstate.IsReady(p) && !podstate.IsTerminal(p) && p.Spec.Containers[0].Image != "broken":
		w.phase(p, corev1.PodRunning, true)
	}
}

func (w *world) pass() {
	w.Helper()
	_, err := w.r.Reconcile(w.t.Context(), controller.Named(key.Namespace, key.Name))
	if err != nil && !errors.Is(err, errLost) {
		w.Fatal(err)
	}
}

// settle lets controller and node work until nothing changes any more.
func (w *world) settle() {
	w.Helper()
	for range 300 {
		before := w.dump()
		w.pass()
		for _, p := range w.pods() {
			w.node(p)
		}
		if w.dump() == before {
			return
		}
	}
	w.Fatal("it never settles")
}

func (w *world) dump() string {
	text := w.set().ResourceVersion
	for _, s := range w.show() {
		text += " " + s
	}
	return text
}

// available is how many of the slots have an available pod.
func (w *world) available() int {
	n := 0
	s, pods := w.set(), w.pods()
	for i := range int(*s.Spec.Replicas) {
		if p := pods[fmt.Sprint("db-", i)]; p != nil && p.DeletionTimestamp == nil && podstate.IsReady(p) && p.Status.Phase == corev1.PodRunning {
			n++
		}
	}
	return n
}

// checked does a pass and holds it to the set's promises.
func (w *world) checked() {
	w.Helper()
	set, before, was := w.set(), w.pods(), w.available()
	w.pass()
	after, promised := w.pods(), int(*set.Spec.Replicas)-set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.IntValue()
	if now := w.available(); now < was && now < promised {
		w.Fatalf("%d available, fewer than the promised %d (before: %d): %v", now, promised, was, w.show())
	}
	for name := range after {
		if before[name] != nil {
			continue
		}
		n := statefulset.Ordinal(set, name)
		if n < 0 || n >= int(*set.Spec.Replicas) {
			w.Fatalf("%s was made, of %d", name, *set.Spec.Replicas)
		}
		for i := range n {
			lower := before[fmt.Sprint("db-", i)]
			if set.Spec.PodManagementPolicy == appsv1.OrderedReadyPodManagement && (lower == nil || !podstate.IsReady(lower)) {
				w.Fatalf("%s was made before db-%d was ready", name, i)
			}
		}
	}
}

// TestKeepsItsPromises plays users, nodes, lost writes and late passes at
// random; in the end, when all is calm, the set is as it should be.
func TestKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		set := db(rapid.Int32Range(0, 4).Draw(rt, "replicas"))
		if rapid.Bool().Draw(rt, "parallel") {
			parallel(set)
		}
		set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(rapid.Int32Range(1, 2).Draw(rt, "max unavailable")))
		w := newWorld(t, rt, set)
		for range rapid.IntRange(0, 25).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"pass", "pass", "node", "node", "node", "edit", "scale", "fail", "unready", "lost"}).Draw(rt, "step") {
			case "pass":
				w.checked()
			case "node":
				if p := w.one(rt); p != nil {
					w.node(p)
				}
			case "edit":
				w.edit(image(rapid.SampledFrom([]string{"db:1", "db:2", "db:3", "broken"}).Draw(rt, "image")))
			case "scale":
				w.edit(func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To(rapid.Int32Range(0, 4).Draw(rt, "to")) })
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
		w.edit(image("db:9"))
		w.settle()
		s := w.set()
		n := *s.Spec.Replicas
		want := appsv1.StatefulSetStatus{
			ObservedGeneration: s.Generation, Replicas: n, ReadyReplicas: n, AvailableReplicas: n, CurrentReplicas: n, UpdatedReplicas: n,
			CurrentRevision: s.Status.UpdateRevision, UpdateRevision: s.Status.UpdateRevision,
		}
		if diff := cmp.Diff(want, s.Status); diff != "" {
			rt.Fatalf("status (-want +got):\n%s\n%v", diff, w.show())
		}
		for name, p := range w.pods() {
			if p.Spec.Containers[0].Image != "db:9" || statefulset.Ordinal(s, name) >= int(n) {
				rt.Fatalf("pods: %v", w.show())
			}
		}
	})
}

// one draws a pod; nil when there is none.
func (w *world) one(t *rapid.T) *corev1.Pod {
	pods := w.pods()
	var names []string
	for name := range pods {
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return pods[rapid.SampledFrom(names).Draw(t, "pod")]
}
