package nodelife_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/nodelife"
	"github.com/headway-sh/headway/reconciler/podstate"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// life answers as the test says.
type life struct{ alive, known bool }

func (l *life) Alive(string) (bool, bool) { return l.alive, l.known }
func (l *life) Changes() <-chan string    { return nil }

func pod(name string, tolerations ...corev1.Toleration) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:   corev1.PodSpec{NodeName: "n1", Tolerations: tolerations},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
}

func unreachable(seconds *int64) corev1.Toleration {
	return corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}
}

func TestALostNode(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
	api := fakecluster.New(clk, node, nodeIn("n2", "", corev1.ConditionTrue), pod("impatient"), pod("patient", unreachable(ptr.To[int64](300))), pod("steadfast", unreachable(nil)))
	heard := &life{alive: true, known: true}
	r := nodelife.NewReconciler(controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}, heard, nodelife.Eviction{})
	pass := func() time.Duration {
		t.Helper()
		result, err := r.Reconcile(t.Context(), controller.Named("", "n1"))
		if err != nil {
			t.Fatal(err)
		}
		return result.RequeueAfter
	}
	state := func() (names []string, ready int, taints []string) {
		t.Helper()
		var l corev1.PodList
		if err := api.List(t.Context(), &l); err != nil {
			t.Fatal(err)
		}
		for _, p := range l.Items {
			names = append(names, p.Name)
			if podstate.IsReady(&p) {
				ready++
			}
		}
		if err := api.Get(t.Context(), client.ObjectKey{Name: "n1"}, node); err != nil {
			t.Fatal(err)
		}
		for _, x := range node.Spec.Taints {
			taints = append(taints, x.Key+":"+string(x.Effect))
		}
		return names, ready, taints
	}

	pass()
	if _, ready, taints := state(); ready != 3 || taints != nil {
		t.Fatalf("alive: %d ready, taints %v", ready, taints)
	}
	heard.alive = false
	wait := pass()
	names, ready, taints := state()
	if diff := cmp.Diff([]string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}, taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
	if ready != 0 || wait != 30*time.Second { // whether all are down by then
		t.Errorf("%d pods ready, next look after %s", ready, wait)
	}
	if diff := cmp.Diff([]string{"patient", "steadfast"}, names); diff != "" {
		t.Errorf("pods at once (-want +got):\n%s", diff)
	}
	clk.Step(300 * time.Second)
	pass()
	if names, _, _ := state(); !cmp.Equal(names, []string{"steadfast"}) {
		t.Errorf("pods after 300 s: %v", names)
	}
	heard.alive = true
	node.Status.Conditions[0].Status = corev1.ConditionTrue // the agent says so itself
	if err := api.Status().Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	pass()
	if _, _, taints := state(); taints != nil {
		t.Errorf("back again, still tainted %v", taints)
	}
}

func TestAnUnheardNodeHasItsGrace(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start)
	api := fakecluster.New(clk, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
	r := nodelife.NewReconciler(controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}, &life{}, nodelife.Eviction{})
	for _, step := range []struct {
		after time.Duration
		ready corev1.ConditionStatus
	}{{0, corev1.ConditionTrue}, {nodelife.Grace - time.Second, corev1.ConditionTrue}, {time.Second, corev1.ConditionUnknown}} {
		clk.Step(step.after)
		if _, err := r.Reconcile(t.Context(), controller.Named("", "n1")); err != nil {
			t.Fatal(err)
		}
		node := &corev1.Node{}
		if err := api.Get(t.Context(), client.ObjectKey{Name: "n1"}, node); err != nil {
			t.Fatal(err)
		}
		if got := node.Status.Conditions[0].Status; got != step.ready {
			t.Errorf("at %s: Ready=%s, want %s", clk.Since(start), got, step.ready)
		}
	}
}
