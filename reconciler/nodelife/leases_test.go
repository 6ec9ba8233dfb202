package nodelife_test

import (
	"log/slog"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/nodelife"
)

// TestANodeOfAnotherKind: no server hears its agent, which renews a Lease, by a
// clock that is an hour late.
func TestANodeOfAnotherKind(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start)
	theirs := func() *metav1.MicroTime { return &metav1.MicroTime{Time: clk.Now().Add(-time.Hour)} }
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "n1"},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To("n1"), LeaseDurationSeconds: ptr.To(int32(40)), RenewTime: theirs()}}
	api := fakecluster.New(clk, nodeIn("n1", "", corev1.ConditionTrue), lease)
	r := nodelife.NewReconciler(controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}, &life{}, nodelife.Eviction{})
	ready := func(what string, want corev1.ConditionStatus) time.Duration {
		t.Helper()
		result, err := r.Reconcile(t.Context(), controller.Named("", "n1"))
		if err != nil {
			t.Fatal(err)
		}
		node := &corev1.Node{}
		if err := api.Get(t.Context(), client.ObjectKey{Name: "n1"}, node); err != nil {
			t.Fatal(err)
		}
		if got := node.Status.Conditions[0].Status; got != want {
			t.Errorf("%s: Ready=%s, want %s", what, got, want)
		}
		return result.RequeueAfter
	}
	renew := func() {
		t.Helper()
		lease.Spec.RenewTime = theirs()
		if err := api.Update(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
	}
	clk.Step(nodelife.Grace)
	ready("a Lease that is old at first sight", corev1.ConditionUnknown)
	renew()
	node := nodeIn("n1", "", corev1.ConditionTrue)
	if err := api.Get(t.Context(), client.ObjectKey{Name: "n1"}, node); err != nil {
		t.Fatal(err)
	}
	node.Status.Conditions[0].Status = corev1.ConditionTrue // as its agent says
	if err := api.Status().Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	if wait := ready("renewed", corev1.ConditionTrue); wait != 40*time.Second {
		t.Errorf("looks again after %s", wait)
	}
	clk.Step(30 * time.Second)
	renew()
	clk.Step(10 * time.Second)
	ready("renewed in between", corev1.ConditionTrue)
	clk.Step(29 * time.Second)
	ready("not yet", corev1.ConditionTrue)
	clk.Step(time.Second)
	ready("forty seconds without a renewal", corev1.ConditionUnknown)
}
