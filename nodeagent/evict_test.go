package nodeagent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
)

// TestEvictedPodSaysWhy gives a pod up: it has failed with the message, its
// containers had their grace, and nothing of it is left on the node.
func TestEvictedPodSaysWhy(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1"))
	pod := n.awaitPod("web", "ready", ready)
	if n.agent.Leaving(pod.UID) || len(n.agent.Holding()) != 1 {
		t.Error("it is not held")
	}
	n.agent.Evict(pod.UID, eviction.Reason, "The node was low on resource: memory. ", time.Second)
	pod = n.awaitPod("web", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if pod.Status.Reason != "Evicted" || pod.Status.Message != "The node was low on resource: memory. " || condition(pod, corev1.DisruptionTarget) != corev1.ConditionTrue {
		t.Errorf("status %+v", pod.Status)
	}
	if end := pod.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 0 {
		t.Errorf("its container: %+v", pod.Status.ContainerStatuses[0].State)
	}
	n.await("nothing of it to be held", func() bool { return len(n.agent.Holding()) == 0 && n.network.left() == 0 })
	if !n.seen("Evicted") {
		t.Error("no event")
	}
}

// TestPressureKeepsPodsAway takes no more pods than a node under pressure
// should.
func TestPressureKeepsPodsAway(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stop()
	held := map[corev1.NodeConditionType]bool{corev1.NodeMemoryPressure: true}
	n.config.Pressure = func() map[corev1.NodeConditionType]bool { return held }
	n.start()
	n.create(newPod("light", "web:v1"))
	pod := n.awaitPod("light", "rejected", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if pod.Status.Reason != "Evicted" || pod.Status.Message != "The node had condition: [MemoryPressure]. " {
		t.Errorf("status %+v", pod.Status)
	}
	n.create(newPod("asking", "web:v1", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")}
	}))
	n.awaitPod("asking", "ready", ready)
}

// TestMeasure adds up logs and volumes.
func TestMeasure(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.runtime.SetProgram("web:v1", emulator.Graceful(0))
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}))
	pod := n.awaitPod("web", "ready", ready)
	block := []byte(strings.Repeat("x", 64<<10))
	volume := filepath.Join(n.dir, "pods", "uid-web", "volumes", "cache")
	for _, path := range []string{filepath.Join(volume, "a"), filepath.Join(volume, "deep", "b"), filepath.Join(n.config.LogDir(pod), "app", "0.log.1")} {
		writeFile(t, filepath.Dir(path), filepath.Base(path), string(block))
	}
	if err := os.Link(filepath.Join(volume, "a"), filepath.Join(volume, "same")); err != nil {
		t.Fatal(err)
	}
	u := n.agent.Measure(t.Context(), pod, true)
	if v := u.Volumes["cache"]; v < 128<<10 || v > 150<<10 {
		t.Errorf("the volume has %d bytes", v)
	}
	if c := u.Containers["app"]; c.Disk < 64<<10 || c.Memory != 1<<20 {
		t.Errorf("the container uses %+v", c)
	}
	if u.Disk < 192<<10 || u.Inodes < 4 {
		t.Errorf("the pod uses %+v", u)
	}
}
