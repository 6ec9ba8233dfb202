package status_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

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

// The same while a write is under way: its answer comes later than the news of
// what was written over it.
func TestWriterPutsRightWhatWasOverwrittenMeanwhile(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	want := &corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	var w *status.Writer
	patches := 0
	c := fake.NewClientBuilder().WithObjects(pod).WithStatusSubresource(pod).WithInterceptorFuncs(interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			if err := c.SubResource(sub).Patch(ctx, o, patch, options...); err != nil {
				return err
			}
			if patches++; patches > 1 {
				return nil
			}
			foreign := o.DeepCopyObject().(*corev1.Pod)
			foreign.Status.Conditions[0].Status = corev1.ConditionFalse
			if err := c.Status().Update(ctx, foreign); err != nil {
				return err
			}
			w.Set(ctx, foreign, want)
			return nil
		},
	}).Build()
	w = status.NewWriter(c, clock.RealClock{}, slog.New(slog.DiscardHandler))
	w.Set(t.Context(), pod, want)
	if err := w.Flush(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	var have corev1.Pod
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), &have); err != nil {
		t.Fatal(err)
	}
	if have.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("Ready stays %q after %d writes", have.Status.Conditions[0].Status, patches)
	}
}

// A pod that is gone is not written about for good: who waits for its last
// status goes on.
func TestWriterGivesUpWhatIsGone(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	tried := make(chan struct{}, 100)
	c := fake.NewClientBuilder().WithObjects(pod).WithStatusSubresource(pod).WithInterceptorFuncs(interceptor.Funcs{
		SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			tried <- struct{}{}
			return apierrors.NewForbidden(corev1.Resource("pods"), "web", errors.New("no relation"))
		},
	}).Build()
	w := status.NewWriter(c, clock.RealClock{}, slog.New(slog.DiscardHandler))
	w.Set(t.Context(), pod, &corev1.PodStatus{Phase: corev1.PodFailed})
	<-tried
	flushed := make(chan error, 1)
	go func() { flushed <- w.Flush(t.Context(), "u") }()
	<-tried
	w.Forget("u")
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	w.Wait()
}
