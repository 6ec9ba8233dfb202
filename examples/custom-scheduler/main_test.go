package main

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestBindsItsPodsOnly(t *testing.T) {
	t.Parallel()
	api := fake.NewClientset(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.NodeSpec{Unschedulable: true}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}})
	watching := make(chan struct{})
	api.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) {
		w, err := api.Tracker().Watch(corev1.SchemeGroupVersion.WithResource("pods"), "")
		close(watching)
		return true, w, err
	})
	bound := make(chan *corev1.Binding, 2)
	api.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "binding" {
			return false, nil, nil
		}
		b := action.(clienttesting.CreateAction).GetObject().(*corev1.Binding)
		bound <- b
		return true, b, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx, api) }()
	<-watching
	for _, pod := range []struct{ name, scheduler string }{{"theirs", "default-scheduler"}, {"ours", name}} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: pod.name}, Spec: corev1.PodSpec{SchedulerName: pod.scheduler}}
		if _, err := api.CoreV1().Pods("shop").Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case b := <-bound:
		if b.Name != "ours" || b.Target.Name != "b" {
			t.Errorf("bound %q to %q, want ours to b", b.Name, b.Target.Name)
		}
	case err := <-done:
		t.Fatalf("ended: %v", err)
	case <-ctx.Done():
		t.Fatal("nothing bound")
	}
	if len(bound) > 0 {
		t.Errorf("bound another: %v", <-bound)
	}
}
