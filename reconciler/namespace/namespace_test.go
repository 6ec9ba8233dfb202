package namespace_test

import (
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/namespace"
)

func TestANamespaceWaitsForItsContent(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "held", Finalizers: []string{"test/hold"}}}
	api := fakecluster.New(clk, held,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Finalizers: []string{"emulated/spec-finalizers"}}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "stays"}})
	r := &namespace.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)},
		Kinds: func() []schema.GroupVersionKind {
			return []schema.GroupVersionKind{corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithKind("ConfigMap")}
		}}
	pass := func() {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), controller.Named("", "shop")); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "p"}, &corev1.Pod{}); err != nil {
		t.Fatalf("a living namespace was emptied: %v", err)
	}
	if err := api.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}); err != nil {
		t.Fatal(err)
	}
	pass()
	n := &corev1.Namespace{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: "shop"}, n); err != nil {
		t.Fatal(err)
	}
	messages := map[corev1.NamespaceConditionType]string{}
	for _, c := range n.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			messages[c.Type] = c.Message
		}
	}
	if want := "Some resources are remaining: configmaps has 1 resource instances"; messages[corev1.NamespaceContentRemaining] != want {
		t.Errorf("conditions %v", messages)
	}
	if want := "Some content in the namespace has finalizers remaining: test/hold in 1 resource instances"; messages[corev1.NamespaceFinalizersRemaining] != want {
		t.Errorf("conditions %v", messages)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(held), held); err != nil {
		t.Fatal(err)
	}
	held.Finalizers = nil
	if err := api.Update(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	pass()
	if err := api.Get(t.Context(), client.ObjectKey{Name: "shop"}, n); !apierrors.IsNotFound(err) {
		t.Errorf("the empty namespace is still there: %v", err)
	}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "other", Name: "stays"}, &corev1.ConfigMap{}); err != nil {
		t.Errorf("another namespace's content: %v", err)
	}
}
