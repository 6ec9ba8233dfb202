package status_test

import (
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headway-sh/headway/nodeagent/status"
)

// What the control plane wrote about a pod while it did not hear the node is
// put right when the node sees it, although the node's own opinion is the same
// as before.
func TestWriterPutsRightWhatWasOverwritten(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	c := fake.NewClientBuilder().WithObjects(pod).WithStatusSubresource(pod).Build()
	get := func() *corev1.Pod {
		t.Helper()
		var have corev1.Pod
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), &have); err != nil {
			t.Fatal(err)
		}
		return &have
	}
	ready := func() corev1.ConditionStatus {
		for _, condition := range get().Status.Conditions {
			if condition.Type == corev1.PodReady {
				return condition.Status
			}
		}
		return ""
	}
	w := status.NewWriter(c, clock.RealClock{}, slog.New(slog.DiscardHandler))
	want := &corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	set := func() {
		t.Helper()
		w.Set(t.Context(), get(), want)
		if err := w.Flush(t.Context(), "u"); err != nil {
			t.Fatal(err)
		}
	}
	set()
	if ready() != corev1.ConditionTrue {
		t.Fatalf("written: Ready is %q", ready())
	}
	foreign := get()
	foreign.Status.Conditions[0].Status = corev1.ConditionFalse
	if err := c.Status().Update(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	set()
	if ready() != corev1.ConditionTrue {
		t.Errorf("overwritten by somebody else: Ready stays %q", ready())
	}
	before := get().ResourceVersion
	set()
	if after := get().ResourceVersion; after != before {
		t.Errorf("the same status again was written: %s, then %s", before, after)
	}
}
