package nodeagent_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

func requests(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: list}
}

// resized writes other resources as the resize subresource does.
func (n *node) resized(name string, to corev1.ResourceRequirements) {
	n.t.Helper()
	pod := n.pod(name)
	pod.Generation++
	pod.Spec.Containers[0].Resources = to
	if err := n.client.Update(n.t.Context(), pod); err != nil {
		n.t.Fatal(err)
	}
}

func has(cpu string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Running != nil && s[0].Resources != nil && s[0].Resources.Requests.Cpu().String() == cpu &&
			condition(p, corev1.PodResizeInProgress) == "" && condition(p, corev1.PodResizePending) == ""
	}
}

func TestResizeInPlace(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = requests("100m", "32Mi") }))
	n.awaitPod("web", "running", has("100m"))
	n.resized("web", requests("200m", "32Mi"))
	if c := n.awaitPod("web", "resized", has("200m")).Status.ContainerStatuses[0]; c.RestartCount != 0 || n.called("Update") != 1 {
		t.Errorf("restarts %d, updates %d", c.RestartCount, n.called("Update"))
	}
}

func TestResizeByRestart(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = requests("100m", "32Mi")
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
	}))
	n.awaitPod("web", "running", has("100m"))
	n.resized("web", requests("200m", "32Mi"))
	n.stepUntil(time.Second, "the restart", func() bool { return has("200m")(n.pod("web")) })
	if c := n.pod("web").Status.ContainerStatuses[0]; c.RestartCount != 1 || n.called("Update") != 0 {
		t.Errorf("restarts %d, updates %d", c.RestartCount, n.called("Update"))
	}
}

func TestResizeThatDoesNotFit(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stop()
	n.config.Allocatable = func() corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("10")}
	}
	n.start()
	for _, name := range []string{"web", "other"} {
		n.create(newPod(name, "web:v1", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = requests("400m", "32Mi") }))
		n.awaitPod(name, "running", has("400m"))
	}
	pending := func(reason string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodResizePending {
					return c.Reason == reason && p.Status.ContainerStatuses[0].Resources != nil && p.Status.ContainerStatuses[0].Resources.Requests.Cpu().String() == "400m"
				}
			}
			return false
		}
	}
	n.resized("web", requests("2", "32Mi"))
	n.awaitPod("web", "infeasible", pending(corev1.PodReasonInfeasible))
	n.resized("web", requests("800m", "32Mi"))
	n.awaitPod("web", "deferred", pending(corev1.PodReasonDeferred))
	n.remove("other")
	n.stepUntil(time.Second, "room", func() bool { return has("800m")(n.pod("web")) })
}

// What waits for room takes none: the node has promised what the pod had.
func TestPendingResizeHoldsNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stop()
	n.config.Allocatable = func() corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("10")}
	}
	n.start()
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = requests("400m", "32Mi") }))
	n.awaitPod("web", "running", has("400m"))
	n.resized("web", requests("2", "32Mi"))
	n.awaitPod("web", "infeasible", func(p *corev1.Pod) bool { return condition(p, corev1.PodResizePending) == corev1.ConditionTrue })
	n.create(newPod("other", "web:v1", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = requests("600m", "32Mi") }))
	n.awaitPod("other", "running", has("600m"))
}

// A limit below what is used would kill: it waits, and says why.
func TestResizeBelowUsage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = requests("100m", "64Mi") }))
	_, id, _ := strings.Cut(n.awaitPod("web", "running", has("100m")).Status.ContainerStatuses[0].ContainerID, "://")
	n.runtime.SetStats(id, runtime.Stats{MemoryUsage: 48 << 20})
	n.resized("web", requests("100m", "32Mi"))
	n.awaitPod("web", "the reason", func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodResizeInProgress {
				return c.Reason == "Error" && strings.Contains(c.Message, "below what it uses")
			}
		}
		return false
	})
	if n.called("Update") > 0 {
		t.Error("the limit was set")
	}
	n.runtime.SetStats(id, runtime.Stats{MemoryUsage: 16 << 20})
	n.stepUntil(time.Second, "the resize", func() bool {
		return n.pod("web").Status.ContainerStatuses[0].Resources.Limits.Memory().String() == "32Mi"
	})
}

func TestResizeOfPodAsAWhole(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	whole := func(cpu string) *corev1.ResourceRequirements { r := requests(cpu, "32Mi"); return &r }
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) { p.Spec.Resources = whole("100m") }))
	is := func(cpu string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			return ready(p) && p.Status.Resources != nil && p.Status.Resources.Limits.Cpu().String() == cpu &&
				p.Status.AllocatedResources.Cpu().String() == cpu && condition(p, corev1.PodResizeInProgress) == ""
		}
	}
	n.awaitPod("web", "running", is("100m"))
	pod := n.pod("web")
	pod.Generation++
	pod.Spec.Resources = whole("300m")
	if err := n.client.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	n.awaitPod("web", "resized", is("300m"))
	if n.cgroups.resized() != 1 {
		t.Errorf("the pod's group was changed %d times", n.cgroups.resized())
	}
}
