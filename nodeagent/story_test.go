package nodeagent_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestPodRunsAndIsDeleted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "second", Image: "web:v1"})
	}))
	pod := n.awaitPod("web", "ready", ready)
	if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP != "10.244.0.1" || pod.Status.HostIP != "192.0.2.1" {
		t.Errorf("status %+v", pod.Status)
	}
	if pod.Status.QOSClass != corev1.PodQOSBestEffort || pod.Status.StartTime == nil || pod.Status.ObservedGeneration != 1 {
		t.Errorf("status %+v", pod.Status)
	}
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running == nil || !c.Ready || !*c.Started || c.ContainerID == "" || c.RestartCount != 0 {
			t.Errorf("container %+v", c)
		}
	}
	for _, reason := range []string{"Pulled", "Created", "Started"} {
		if !n.seen(reason) {
			t.Errorf("no event %s", reason)
		}
	}
	n.remove("web")
	n.await("the pod to be gone", func() bool { return n.pod("web") == nil })
	n.empty()
}

func TestJobCompletes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("job", "job:v1", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	n.stepUntil(time.Second, "succeeded", func() bool { return n.pod("job").Status.Phase == corev1.PodSucceeded })
	pod := n.awaitPod("job", "taken down", func(p *corev1.Pod) bool {
		return condition(p, corev1.PodReadyToStartContainers) == corev1.ConditionFalse
	})
	end := pod.Status.ContainerStatuses[0].State.Terminated
	if end == nil || end.Reason != "Completed" || end.ExitCode != 0 || end.FinishedAt.IsZero() {
		t.Errorf("end %+v", end)
	}
	if left := n.network.left(); left != 0 {
		t.Errorf("%d addresses left", left)
	}
}
