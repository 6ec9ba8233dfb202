package podgc_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podgc"
)

func names(t *testing.T, api client.Client) (out []string) {
	var l corev1.PodList
	if err := api.List(t.Context(), &l); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Items {
		out = append(out, p.Name)
	}
	return out
}

func TestPodsOfAVanishedNodeGoAfterQuarantine(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	api := fakecluster.New(clk, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "here"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "lost"}, Spec: corev1.PodSpec{NodeName: "gone"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "fine"}, Spec: corev1.PodSpec{NodeName: "here"}})
	r := podgc.NewReconciler(controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)}, 0)
	for _, node := range []string{"gone", "here"} {
		if _, err := r.Reconcile(t.Context(), podgc.Request{About: "node", Name: node}); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, api); len(got) != 2 {
		t.Fatalf("deleted within the quarantine: %v", got)
	}
	clk.Step(podgc.Quarantine)
	for _, node := range []string{"gone", "here"} {
		if _, err := r.Reconcile(t.Context(), podgc.Request{About: "node", Name: node}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"fine"}, names(t, api)); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}

func TestOldestEndedPodsGoFirst(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	api := fakecluster.New(clk)
	for i, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodRunning, corev1.PodFailed, corev1.PodSucceeded} {
		clk.Step(time.Minute)
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("p", i)}}
		if err := api.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		p.Status.Phase = phase
		if err := api.Status().Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	r := podgc.NewReconciler(controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)}, 1)
	if _, err := r.Reconcile(t.Context(), podgc.Request{About: "ended"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"p1", "p3"}, names(t, api)); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}
