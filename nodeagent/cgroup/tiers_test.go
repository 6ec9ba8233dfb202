package cgroup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

func podWith(uid types.UID, c ...corev1.Container) *corev1.Pod {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: c}}
	pod.UID = uid
	return pod
}

// TestTiers: each class of pods has as much of the CPU as its pods have asked
// for, best effort next to nothing, over a restart of the agent too.
func TestTiers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make cgroups")
	}
	const cpu = "/sys/fs/cgroup/cpu"
	if _, err := os.Stat(cpu); err != nil {
		t.Skip("reads the files of cgroup v1")
	}
	parent := fmt.Sprintf("headway-test-%d-tiers", os.Getpid())
	open := func() *cgroup.Groups {
		g, err := cgroup.New(cgroup.Config{Parent: parent})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := open()
	t.Cleanup(func() {
		if err := g.RemoveAll(); err != nil {
			t.Error(err)
		}
	})
	shares := func(class, want string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(cpu, parent, class, "cpu.shares"))
		if got := strings.TrimSpace(string(data)); err != nil || got != want {
			t.Errorf("%s has %q, %v, want %s", class, got, err, want)
		}
	}
	ensure := func(pod *corev1.Pod) {
		t.Helper()
		if _, err := g.Ensure(pod); err != nil {
			t.Fatal(err)
		}
	}
	for _, uid := range []types.UID{"e1", "e2", "e3"} {
		ensure(podWith(uid, container("", "", "", "")))
	}
	ensure(podWith("b1", container("1", "", "", "")))
	ensure(podWith("b2", container("500m", "", "", "")))
	ensure(podWith("g1", container("250m", "250m", "1Mi", "1Mi")))
	shares("besteffort", "2")
	shares("burstable", "1536")
	shares("guaranteed", "256")
	g = open() // the agent that comes after
	ensure(podWith("b3", container("500m", "", "", "")))
	shares("burstable", "2048")
	if err := g.Remove("b1"); err != nil {
		t.Fatal(err)
	}
	shares("burstable", "1024")
}

func TestPodLevelResources(t *testing.T) {
	t.Parallel()
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	pod := podWith("p", container("", "", "", ""), container("100m", "", "256Mi", ""))
	pod.Spec.Resources = &corev1.ResourceRequirements{Requests: list("500m", "1Gi"), Limits: list("1", "2Gi")}
	if diff := cmp.Diff(runtime.Resources{CPUShares: 512, CPUQuota: 100_000, CPUPeriod: 100_000, MemoryLimit: 2 << 30}, cgroup.Pod(pod)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if class := status.QOSClass(pod); class != corev1.PodQOSBurstable {
		t.Errorf("class %s", class)
	}
	// Of 768Mi that no container asks for by itself each has a half.
	for i, want := range []int{1000 - 1000*384/4096, 1000 - 1000*640/4096} {
		if got := cgroup.OOMScoreAdj(pod, &pod.Spec.Containers[i], 4<<30); got != want {
			t.Errorf("container %d: adjustment %d, want %d", i, got, want)
		}
	}
	pod.Spec.Resources.Requests = pod.Spec.Resources.Limits
	if class := status.QOSClass(pod); class != corev1.PodQOSGuaranteed {
		t.Errorf("class %s", class)
	}
}

func TestHugePages(t *testing.T) {
	t.Parallel()
	c := container("", "", "", "")
	c.Resources.Limits = corev1.ResourceList{"hugepages-2Mi": resource.MustParse("6Mi"), "hugepages-1Gi": resource.MustParse("1Gi")}
	want := map[string]int64{"2MB": 6 << 20, "1GB": 1 << 30}
	if diff := cmp.Diff(want, cgroup.Container(&c).HugePages); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, cgroup.Pod(podWith("p", c)).HugePages); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
}
