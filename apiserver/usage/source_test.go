package usage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/usage"
)

// agents are nodes of which each uses half a processor and runs a pod that uses
// a quarter. The node n3 does not answer; all of them tell of default/other,
// which is bound to n3.
type agents struct {
	begin time.Time
	mu    sync.Mutex // guards asked
	asked map[string]int
}

func (a *agents) ask(ctx context.Context, node string) ([]byte, error) {
	a.mu.Lock()
	a.asked[node]++
	a.mu.Unlock()
	if node == "n3" {
		<-ctx.Done()
		return nil, errors.New("no answer")
	}
	now := time.Now()
	seconds, at := now.Sub(a.begin).Seconds(), now.UnixMilli()
	text := "# TYPE node_cpu_usage_seconds_total counter\n# TYPE node_memory_working_set_bytes gauge\n# TYPE container_cpu_usage_seconds_total counter\n# TYPE container_memory_working_set_bytes gauge\n" +
		fmt.Sprintf("node_cpu_usage_seconds_total %g %d\nnode_memory_working_set_bytes 1048576 %d\n", seconds/2, at, at)
	for _, pod := range []string{"on-" + node, "other"} {
		labels := fmt.Sprintf(`{container="app",namespace="default",pod=%q}`, pod)
		text += fmt.Sprintf("container_cpu_usage_seconds_total%s %g %d\ncontainer_memory_working_set_bytes%s 2048 %d\n", labels, seconds/4, at, labels, at)
	}
	return []byte(text), nil
}

func cluster() txn.View {
	objects := map[txn.Ref]txn.Object{}
	for _, name := range []string{"n1", "n2", "n3"} {
		objects[txn.Ref{Resource: schema.GroupResource{Resource: "nodes"}, Name: name}] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	for name, node := range map[string]string{"on-n1": "n1", "on-n2": "n2", "other": "n3", "unbound": ""} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"node": node}}, Spec: corev1.PodSpec{NodeName: node}}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		objects[txn.Ref{Resource: schema.GroupResource{Resource: "pods"}, Namespace: "default", Name: name}] = pod
	}
	return txn.Overlay(txn.Empty{}, objects, nil)
}

func computed(t *testing.T, k *kind.Kind) map[string]string {
	t.Helper()
	all, err := k.Computed(t.Context(), cluster(), "")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, o := range all {
		switch m := o.(type) {
		case *metricsv1beta1.NodeMetrics:
			out[m.Name] = fmt.Sprint(m.Usage.Cpu(), " ", m.Usage.Memory(), " ", m.Window.Duration)
		case *metricsv1beta1.PodMetrics:
			out[m.Name] = fmt.Sprint(m.Labels["node"], " ", m.Containers[0].Usage.Cpu(), " ", m.Containers[0].Usage.Memory(), " ", m.Window.Duration)
		}
	}
	return out
}

// TestRates: the first answer takes two looks, what comes soon after is the same
// answer, and later ones are about the time since.
func TestRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &agents{begin: time.Now().Add(-time.Hour), asked: map[string]int{}}
		kinds := usage.New(a.ask, clock.RealClock{}, slog.New(slog.DiscardHandler)).Kinds()
		want := func(k *kind.Kind, want map[string]string) {
			t.Helper()
			if diff := cmp.Diff(want, computed(t, k)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", k.GVK.Kind, diff)
			}
		}
		asked := func(n int) {
			t.Helper()
			if a.asked["n1"] != n {
				t.Errorf("asked %d times, want %d", a.asked["n1"], n)
			}
		}
		// The silent agent is waited for as long as it may take, and left out.
		want(kinds[0], map[string]string{"n1": "500m 1Mi 3s", "n2": "500m 1Mi 3s"})
		want(kinds[1], map[string]string{"on-n1": "n1 250m 2Ki 3s", "on-n2": "n2 250m 2Ki 3s"})
		asked(2)
		<-time.After(20 * time.Second) // of the bubble's time
		want(kinds[1], map[string]string{"on-n1": "n1 250m 2Ki 20s", "on-n2": "n2 250m 2Ki 20s"})
		asked(3)
		<-time.After(time.Hour)
		want(kinds[0], map[string]string{"n1": "500m 1Mi 3s", "n2": "500m 1Mi 3s"})
		asked(5)
	})
}
