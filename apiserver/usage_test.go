package apiserver_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metrics "k8s.io/metrics/pkg/client/clientset/versioned"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestWhatPodsUse: the API that kubectl top and autoscalers read, of two nodes
// of which one cannot be reached.
func TestWhatPodsUse(t *testing.T) {
	t.Parallel()
	server := start(t)
	begin := time.Now().Add(-time.Hour)
	node(t, server, "n1", agent(t, server, "n1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics/resource" {
			http.NotFound(w, r)
			return
		}
		now := time.Now()
		seconds, at := now.Sub(begin).Seconds(), now.UnixMilli()
		fmt.Fprintf(w, "# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total %g %d\n", seconds, at)
		fmt.Fprintf(w, "# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes %d %d\n", 512<<20, at)
		labels := `{container="c",namespace="default",pod="n1"}`
		fmt.Fprintf(w, "# TYPE container_cpu_usage_seconds_total counter\ncontainer_cpu_usage_seconds_total%s %g %d\n", labels, seconds/2, at)
		fmt.Fprintf(w, "# TYPE container_memory_working_set_bytes gauge\ncontainer_memory_working_set_bytes%s %d %d\n", labels, 64<<20, at)
	}))
	gone := agent(t, server, "n2", http.NotFound)
	node(t, server, "n2", gone)
	for _, name := range []string{"n1", "n2"} {
		owner, pod := server.Peer(admin).Client(), &corev1.Pod{}
		check(t, owner.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, pod))
		pod.Labels = map[string]string{"on": name}
		check(t, owner.Update(t.Context(), pod))
		pod.Status.Phase = corev1.PodRunning
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		check(t, owner.Status().Update(t.Context(), pod))
	}
	bindRole(t, server, "ada", "view")
	ada := metrics.NewForConfigOrDie(asPerson(t, server, "ada")).MetricsV1beta1()
	ctx := t.Context()

	nodes, err := ada.NodeMetricses().List(ctx, metav1.ListOptions{})
	check(t, err)
	if len(nodes.Items) != 1 || nodes.Items[0].Name != "n1" || nodes.Items[0].Usage.Memory().String() != "512Mi" {
		t.Fatalf("nodes: %+v", nodes.Items)
	}
	if cpu := nodes.Items[0].Usage.Cpu().MilliValue(); cpu < 990 || cpu > 1010 {
		t.Errorf("the node uses %dm, want 1000m", cpu)
	}
	pods, err := ada.PodMetricses("").List(ctx, metav1.ListOptions{})
	check(t, err)
	if len(pods.Items) != 1 || pods.Items[0].Name != "n1" || pods.Items[0].Labels["on"] != "n1" || pods.Items[0].Containers[0].Usage.Memory().String() != "64Mi" {
		t.Fatalf("pods: %+v", pods.Items)
	}
	if cpu := pods.Items[0].Containers[0].Usage.Cpu().MilliValue(); cpu < 490 || cpu > 510 {
		t.Errorf("the pod uses %dm, want 500m", cpu)
	}
	for selector, want := range map[string]int{"on=n1": 1, "on=n2": 0} {
		pods, err := ada.PodMetricses("default").List(ctx, metav1.ListOptions{LabelSelector: selector})
		check(t, err)
		if len(pods.Items) != want {
			t.Errorf("%s: %d pods, want %d", selector, len(pods.Items), want)
		}
	}
	if one, err := ada.PodMetricses("default").Get(ctx, "n1", metav1.GetOptions{}); err != nil || one.Window.Duration < time.Second {
		t.Errorf("get: %+v, %v", one, err)
	}
	if _, err := ada.PodMetricses("default").Get(ctx, "n2", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get what is not known: %v", err)
	}
	nobody := metrics.NewForConfigOrDie(asPerson(t, server, "bob")).MetricsV1beta1()
	if _, err := nobody.PodMetricses("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a list by somebody without the right: %v", err)
	}
	if _, err := ada.PodMetricses("default").Watch(ctx, metav1.ListOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("watch: %v", err)
	}
}
