package serve_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// looked is when the tests' node is looked at.
var looked = time.Date(2026, 1, 2, 15, 4, 5, 250_000_000, time.UTC)

type groups struct{}

func (groups) PodUsage(*corev1.Pod) runtime.Stats {
	return runtime.Stats{CPUUsageNanoseconds: 2_500_000_000, MemoryWorkingSet: 200, MemoryUsage: 300}
}

func (groups) MachineUsage() runtime.Stats {
	return runtime.Stats{CPUUsageNanoseconds: 9_000_000_000, MemoryWorkingSet: 800, MemoryUsage: 900}
}

// statsCalls make each look at a container two seconds later than the last, in
// which it has used half a processor.
var statsCalls atomic.Int64

func (echo) Stats(_ context.Context, id string) (runtime.Stats, error) {
	n := statsCalls.Add(1)
	return runtime.Stats{Time: looked.Add(time.Duration(2*n) * time.Second), CPUUsageNanoseconds: uint64(n) * 1_000_000_000, MemoryWorkingSet: 100, MemoryUsage: 150, MemoryRSS: 50}, nil
}

func (echo) DiskUsage(context.Context, string) (runtime.DiskUsage, error) {
	return runtime.DiskUsage{Bytes: 4096, Inodes: 3}, nil
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", url, response.StatusCode, body, err)
	}
	return string(body)
}

// TestUsage: containers that run are measured, and the second look knows a rate.
func TestUsage(t *testing.T) {
	server := newServer(t, "kube-apiserver")
	var summary stats.Summary
	for look := range 2 {
		summary = stats.Summary{}
		if err := json.Unmarshal([]byte(fetch(t, server.URL+"/stats/summary")), &summary); err != nil {
			t.Fatal(err)
		}
		if len(summary.Pods) != 1 || len(summary.Pods[0].Containers) != 1 {
			t.Fatalf("want the one container that runs, got %+v", summary.Pods)
		}
		rate := summary.Pods[0].Containers[0].CPU.UsageNanoCores
		if look == 0 && rate != nil {
			t.Errorf("a rate of %d after one look", *rate)
		}
		if look == 1 && (rate == nil || *rate != 500_000_000) {
			t.Errorf("rate %v, want half a processor", rate)
		}
	}
	if diff := cmp.Diff(stats.PodReference{Name: "web", Namespace: "default", UID: "u"}, summary.Pods[0].PodRef); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if c := summary.Pods[0].Containers[0]; c.Name != "app" || *c.Memory.WorkingSetBytes != 100 || *c.Memory.UsageBytes != 150 || *c.Memory.RSSBytes != 50 || !c.StartTime.Time.Equal(looked.Add(-time.Minute).Truncate(time.Second)) {
		t.Errorf("container %+v", c)
	}
	if n := summary.Node; n.NodeName != "n1" || *n.CPU.UsageCoreNanoSeconds != 9_000_000_000 || *n.Memory.WorkingSetBytes != 800 {
		t.Errorf("node %+v", n)
	}
	body := fetch(t, server.URL+"/metrics/resource")
	for _, line := range []string{
		"node_cpu_usage_seconds_total 9 1767366245250", "node_memory_working_set_bytes 800 1767366245250",
		`pod_cpu_usage_seconds_total{namespace="default",pod="web"} 2.5 1767366245250`, `pod_memory_working_set_bytes{namespace="default",pod="web"} 200 1767366245250`,
		`container_cpu_usage_seconds_total{container="app",namespace="default",pod="web"} `, `container_memory_working_set_bytes{container="app",namespace="default",pod="web"} 100 `,
		`container_start_time_seconds{container="app",namespace="default",pod="web"} 1.76736618525e+09`, "resource_scrape_error 0",
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("%q is not in\n%s", line, body)
		}
	}
}
