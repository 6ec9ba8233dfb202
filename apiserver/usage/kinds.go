package usage

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// Kinds are the rows of NodeMetrics and PodMetrics.
func (s *Source) Kinds() []*kind.Kind {
	columns := []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "The name of what is measured."},
		{Name: "CPU", Type: "string", Description: "The processors that are used, on average over the window."},
		{Name: "Memory", Type: "string", Description: "The memory that is in use."},
		{Name: "Window", Type: "string", Description: "How long was measured."},
	}
	row := func(name string, usage corev1.ResourceList, window metav1.Duration) []any {
		return []any{name, fmt.Sprintf("%dm", usage.Cpu().MilliValue()), fmt.Sprintf("%dMi", usage.Memory().Value()>>20), window.Duration.String()}
	}
	return []*kind.Kind{
		{
			GVK: metricsv1beta1.SchemeGroupVersion.WithKind("NodeMetrics"), Plural: "nodes", StoragePrefix: "metrics.k8s.io/nodes", Verbs: []string{"get", "list"},
			New: func() txn.Object { return &metricsv1beta1.NodeMetrics{} }, NewList: func() runtime.Object { return &metricsv1beta1.NodeMetricsList{} },
			Computed: s.nodes, Columns: columns,
			Row: func(o txn.Object, _ time.Time) []any {
				m := o.(*metricsv1beta1.NodeMetrics)
				return row(m.Name, m.Usage, m.Window)
			},
		},
		{
			GVK: metricsv1beta1.SchemeGroupVersion.WithKind("PodMetrics"), Plural: "pods", Namespaced: true, StoragePrefix: "metrics.k8s.io/pods", Verbs: []string{"get", "list"},
			New: func() txn.Object { return &metricsv1beta1.PodMetrics{} }, NewList: func() runtime.Object { return &metricsv1beta1.PodMetricsList{} },
			Computed: s.pods, Columns: columns,
			Row: func(o txn.Object, _ time.Time) []any {
				m := o.(*metricsv1beta1.PodMetrics)
				return row(m.Name, sum(m.Containers), m.Window)
			},
		},
	}
}

func sum(containers []metricsv1beta1.ContainerMetrics) corev1.ResourceList {
	var cpu, memory resource.Quantity
	for i := range containers {
		cpu.Add(*containers[i].Usage.Cpu())
		memory.Add(*containers[i].Usage.Memory())
	}
	return corev1.ResourceList{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory}
}

func (s *Source) nodes(ctx context.Context, view txn.View, _ string) ([]txn.Object, error) {
	seen, err := s.look(ctx, view)
	if err != nil {
		return nil, err
	}
	var all []txn.Object
	for o := range view.Each(nodes, "") {
		l := seen[o.GetName()]
		usage, ok := between(l.before.node, l.now.node)
		if !ok {
			continue
		}
		all = append(all, &metricsv1beta1.NodeMetrics{
			ObjectMeta: about(o, l), Timestamp: metav1.NewTime(l.now.node.at), Window: window(l), Usage: usage,
		})
	}
	return all, nil
}

func (s *Source) pods(ctx context.Context, view txn.View, namespace string) ([]txn.Object, error) {
	seen, err := s.look(ctx, view)
	if err != nil {
		return nil, err
	}
	var all []txn.Object
	for o := range view.Each(pods, namespace) {
		pod := o.(*corev1.Pod)
		l, ok := seen[pod.Spec.NodeName]
		if !ok {
			continue
		}
		if containers := measured(pod, l); len(containers) > 0 {
			all = append(all, &metricsv1beta1.PodMetrics{
				ObjectMeta: about(pod, l), Timestamp: metav1.NewTime(l.now.node.at), Window: window(l), Containers: containers,
			})
		}
	}
	return all, nil
}

// measured is what a pod's containers use; none as long as one that runs is not
// known, since the sum would be too small.
func measured(pod *corev1.Pod, l looks) []metricsv1beta1.ContainerMetrics {
	var all []metricsv1beta1.ContainerMetrics
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if list[i].State.Running == nil {
				continue
			}
			key := containerKey{pod.Namespace, pod.Name, list[i].Name}
			usage, ok := between(l.before.containers[key], l.now.containers[key])
			if !ok {
				return nil
			}
			all = append(all, metricsv1beta1.ContainerMetrics{Name: list[i].Name, Usage: usage})
		}
	}
	return all
}

// about is the metadata of what is said about an object: its labels select it.
func about(o txn.Object, l looks) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), Labels: o.GetLabels(), CreationTimestamp: metav1.NewTime(l.now.node.at)}
}

func window(l looks) metav1.Duration {
	return metav1.Duration{Duration: l.now.node.at.Sub(l.before.node.at).Round(time.Millisecond)}
}
