package nodeagent_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
	"github.com/headway-sh/headway/nodeagent/shutdown"
)

// TestMachineGoesDown ends ordinary pods before critical ones and tells why;
// nothing starts any more until the agent is started anew, and then the pods of
// files run again.
func TestMachineGoesDown(t *testing.T) {
	t.Parallel()
	n := newNode(t, nodeObject())
	n.runtime.AddImage(runtime.Image{ID: "sha256:slow", References: []string{"slow:v1"}})
	n.runtime.SetProgram("slow:v1", emulator.Graceful(3*time.Second))
	withFiles(t, n, map[string]string{"web.yaml": webFile})
	n.awaitPod("web-n1", "ready", ready)
	n.create(newPod("slow", "slow:v1"))
	n.create(newPod("system", "web:v1", func(p *corev1.Pod) { p.Spec.Priority = ptr.To[int32](2_000_000_000) }))
	n.awaitPod("slow", "ready", ready)
	n.awaitPod("system", "ready", ready)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.agent.Shutdown(t.Context(), shutdown.Periods{Total: 30 * time.Second, Critical: 10 * time.Second})
	}()
	n.await("the node to close", n.agent.Closing)
	n.await("the slow one to be told", func() bool { return n.called("Signal") > 0 })
	if !ready(n.pod("system")) {
		t.Error("a critical pod ended with the ordinary ones")
	}
	n.create(newPod("late", "web:v1"))
	late := n.awaitPod("late", "rejected", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if late.Status.Reason != "NodeShutdown" {
		t.Errorf("status %+v", late.Status)
	}
	n.stepUntil(time.Second, "the end", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	for _, name := range []string{"slow", "system"} {
		pod := n.pod(name)
		if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "Terminated" || pod.Status.Message != shutdown.Message || condition(pod, corev1.DisruptionTarget) != corev1.ConditionTrue {
			t.Errorf("%s: %+v", name, pod.Status)
		}
	}
	if left := n.network.left(); left != 0 {
		t.Errorf("%d addresses are left", left)
	}
	n.stop()
	n.start()
	n.awaitPod("web-n1", "running again", ready)
	if n.pod("slow").Status.Phase != corev1.PodFailed {
		t.Error("a pod of the API came back")
	}
}
