// The program custom-scheduler is a second scheduler in sixty lines: it gives
// the pods with spec.schedulerName "alphabetical" the first ready node by name.
// It works beside Headway's own, on any cluster: all it needs is the API.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const name = "alphabetical"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err == nil {
		err = run(ctx, kubernetes.NewForConfigOrDie(config))
	}
	if err != nil {
		slog.Error("schedule", "err", err)
		os.Exit(1)
	}
}

// run binds every pod that waits for this scheduler until ctx ends or the watch
// does; whoever runs it starts it again.
func run(ctx context.Context, api kubernetes.Interface) error {
	watch, err := api.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=,spec.schedulerName=" + name})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok || pod.Spec.NodeName != "" || pod.Spec.SchedulerName != name || pod.DeletionTimestamp != nil {
			continue
		}
		nodes, err := api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list nodes: %w", err)
		}
		ready := slices.DeleteFunc(nodes.Items, func(n corev1.Node) bool { return n.Spec.Unschedulable || len(n.Spec.Taints) > 0 })
		if len(ready) == 0 {
			slog.Warn("no node is ready", "pod", pod.Name)
			continue
		}
		first := slices.MinFunc(ready, func(a, b corev1.Node) int { return slices.Compare([]string{a.Name}, []string{b.Name}) })
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: first.Name}}
		if err := api.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			slog.Warn("bind", "pod", pod.Name, "err", err)
		}
	}
	return nil
}
