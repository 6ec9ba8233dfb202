package cgroup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

func container(requestCPU, limitCPU, requestMemory, limitMemory string) corev1.Container {
	list := func(cpu, memory string) corev1.ResourceList {
		l := corev1.ResourceList{}
		if cpu != "" {
			l[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: list(requestCPU, requestMemory), Limits: list(limitCPU, limitMemory)}}
}

func TestPod(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		containers []corev1.Container
		want       runtime.Resources
		adjust     int
	}{
		"best effort":  {[]corev1.Container{container("", "", "", "")}, runtime.Resources{CPUShares: 2}, 1000},
		"guaranteed":   {[]corev1.Container{container("500m", "500m", "1Mi", "1Mi")}, runtime.Resources{CPUShares: 512, CPUQuota: 50_000, CPUPeriod: 100_000, MemoryLimit: 1 << 20}, -997},
		"burstable":    {[]corev1.Container{container("1", "", "1Gi", "")}, runtime.Resources{CPUShares: 1024}, 750},
		"tiny":         {[]corev1.Container{container("1m", "1m", "", "")}, runtime.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100_000}, 999},
		"half limited": {[]corev1.Container{container("1", "2", "", ""), container("1", "", "", "")}, runtime.Resources{CPUShares: 2048}, 999},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: tc.containers}}
			if diff := cmp.Diff(tc.want, cgroup.Pod(pod)); diff != "" {
				t.Errorf("resources (-want +got):\n%s", diff)
			}
			if got := cgroup.OOMScoreAdj(pod, &pod.Spec.Containers[0], 4<<30); got != tc.adjust {
				t.Errorf("oom score adjustment %d, want %d", got, tc.adjust)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make cgroups")
	}
	g, err := cgroup.New(cgroup.Config{Parent: "headway-test-" + filepath.Base(t.TempDir()), PidsLimit: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.RemoveAll(); err != nil {
			t.Error(err)
		}
	})
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{container("100m", "200m", "64Mi", "64Mi")}}}
	pod.UID = "u1"
	path, err := g.Ensure(pod)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := g.Ensure(pod); err != nil || again != path {
		t.Errorf("again: %q %v", again, err)
	}
	memory := filepath.Join("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		memory = filepath.Join("/sys/fs/cgroup", path, "memory.max")
	}
	if data, err := os.ReadFile(memory); err != nil || strings.TrimSpace(string(data)) != "67108864" {
		t.Errorf("%s: %q %v", memory, data, err)
	}
	// What a runtime makes below goes too.
	if err := os.Mkdir(filepath.Join(filepath.Dir(memory), "c1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(pod.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(memory)); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if err := g.Remove(pod.UID); err != nil {
		t.Errorf("again: %v", err)
	}
}
