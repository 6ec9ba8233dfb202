package nodeagent_test

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
)

// TestRebootWithoutAServer loses all that ran with the power, and brings it back
// before any server is heard: pods of the API with their init containers, pods
// of files, and none that had come to its end.
func TestRebootWithoutAServer(t *testing.T) {
	t.Parallel()
	n := newNode(t, nodeObject())
	withFiles(t, n, map[string]string{"own.yaml": webFile})
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "job:v1"}} }))
	n.create(newPod("done", "job:v1", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	n.stepUntil(time.Second, "all of them", func() bool {
		saved := n.saved()
		own := n.pod("web-n1")
		return own != nil && ready(own) && ready(n.pod("web")) && saved["uid-web"] == corev1.PodRunning && saved["uid-done"] == corev1.PodSucceeded && len(saved) == 3
	})
	n.stop()
	n.setDown(errors.New("no server is there"))
	n.runtime = emulator.New(n.clock)
	t.Cleanup(n.runtime.Close)
	n.runtime.AddImage(runtime.Image{ID: "sha256:web", References: []string{"web:v1"}})
	n.runtime.AddImage(runtime.Image{ID: "sha256:job", References: []string{"job:v1"}})
	n.runtime.SetProgram("web:v1", emulator.Graceful(0))
	n.runtime.SetProgram("job:v1", emulator.ExitAfter(time.Second, 0))
	n.config.Runtime = n.runtime
	n.start()
	running := func() map[string]int {
		_, containers, err := n.runtime.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]int{}
		for _, c := range containers {
			if c.State == runtime.StateRunning {
				all[c.PodUID+"/"+c.Name]++
			}
		}
		return all
	}
	n.stepUntil(time.Second, "what ran to run again", func() bool {
		all := running()
		return len(all) == 2 && all["uid-web/app"] == 1
	})
	for _, c := range n.runtime.Calls() {
		if c.Operation == "StartSandbox" && c.Subject == "uid-done" {
			t.Error("a pod that had ended came back")
		}
	}
	n.setDown(nil)
	n.stepUntil(time.Second, "the API to hear of it", func() bool {
		pod := n.pod("web")
		return ready(pod) && pod.Status.ContainerStatuses[0].RestartCount == 1 && pod.Status.InitContainerStatuses[0].State.Terminated != nil
	})
}
