package nodeagent_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
)

func TestCrashingContainerBacksOff(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("bad", "bad:v1"))
	var pod *corev1.Pod // as it is then: it may go on at any moment
	n.stepUntil(time.Second, "back-off", func() bool {
		pod = n.pod("bad")
		all := pod.Status.ContainerStatuses
		return len(all) > 0 && all[0].State.Waiting != nil && all[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	c := pod.Status.ContainerStatuses[0]
	if c.RestartCount < 1 || c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.ExitCode != 3 || c.LastTerminationState.Terminated.Reason != "Error" {
		t.Errorf("container %+v", c)
	}
	if !strings.Contains(c.State.Waiting.Message, "restarting failed container=app pod=bad_default(uid-bad)") {
		t.Errorf("message %q", c.State.Waiting.Message)
	}
	if pod.Status.Phase != corev1.PodRunning || ready(pod) {
		t.Errorf("phase %s", pod.Status.Phase)
	}
	before := c.RestartCount
	n.stepUntil(time.Second, "another restart", func() bool {
		all := n.pod("bad").Status.ContainerStatuses
		return len(all) > 0 && all[0].RestartCount > before
	})
	if !n.seen("BackOff") {
		t.Error("no event BackOff")
	}
}

func TestMissingImage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("never", "none:v1", func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever }))
	n.create(newPod("pull", "far:v1"))
	reason := func(want string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			all := p.Status.ContainerStatuses
			return len(all) > 0 && all[0].State.Waiting != nil && all[0].State.Waiting.Reason == want
		}
	}
	pod := n.awaitPod("never", "ErrImageNeverPull", reason("ErrImageNeverPull"))
	if pod.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s", pod.Status.Phase)
	}
	n.awaitPod("pull", "ErrImagePull", reason("ErrImagePull"))
	n.stepUntil(time.Second, "ImagePullBackOff", func() bool { return reason("ImagePullBackOff")(n.pod("pull")) })
	n.runtime.AddRemote(runtime.Image{ID: "sha256:far", References: []string{"far:v1"}})
	n.stepUntil(time.Second, "running", func() bool { return ready(n.pod("pull")) })
}

func TestStubbornContainerIsKilled(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.runtime.SetProgram("web:v1", emulator.Stubborn())
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		seconds := int64(5)
		p.Spec.TerminationGracePeriodSeconds = &seconds
	}))
	n.awaitPod("web", "ready", ready)
	start := n.clock.Now()
	n.remove("web")
	n.await("the signal", func() bool { return n.called("Signal") > 0 })
	n.stepUntil(time.Second, "gone", func() bool { return n.pod("web") == nil })
	if took := n.clock.Now().Sub(start); took < 5*time.Second {
		t.Errorf("killed after %s", took)
	}
	n.await("nothing to be left", func() bool { _, c, _ := n.runtime.List(t.Context()); return len(c) == 0 })
}

func TestForcedDeletion(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) { p.Finalizers = nil }))
	n.awaitPod("web", "ready", ready)
	n.remove("web")
	n.await("nothing to be left", func() bool { s, c, _ := n.runtime.List(t.Context()); return len(s)+len(c) == 0 })
	n.await("the directory to be gone", func() bool { _, err := os.Stat(filepath.Join(n.dir, "pods", "uid-web")); return os.IsNotExist(err) })
}

func TestAgentRestartKeepsContainers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1"))
	n.create(newPod("bad", "bad:v1", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	id := n.awaitPod("web", "ready", ready).Status.ContainerStatuses[0].ContainerID
	n.awaitPod("bad", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	n.await("checkpoints", func() bool {
		saved := n.saved()
		return saved["uid-web"] == corev1.PodRunning && saved["uid-bad"] == corev1.PodRunning
	})
	n.stop()
	n.stepUntil(time.Second, "the end of the other", func() bool {
		_, all, _ := n.runtime.List(t.Context())
		for _, c := range all {
			if c.Name == "app" && c.PodUID == "uid-bad" && c.State == runtime.StateExited {
				return true
			}
		}
		return false
	})
	before := n.called("Create")
	n.setDown(errors.New("the API is away"))
	n.start()
	n.await("the pods to be taken over", func() bool { return n.called("StartSandbox") > 2 })
	if n.called("Create") != before || n.called("Signal") > 0 {
		t.Errorf("calls %v", n.runtime.Calls())
	}
	n.setDown(nil)
	n.clock.Step(time.Minute)
	n.stepUntil(time.Second, "the exit code to be told", func() bool {
		s := n.pod("bad").Status
		return s.Phase == corev1.PodFailed && s.ContainerStatuses[0].State.Terminated.ExitCode == 3
	})
	c := n.pod("web").Status.ContainerStatuses[0]
	if c.ContainerID != id || c.RestartCount != 0 || !ready(n.pod("web")) {
		t.Errorf("container %+v, was %s", c, id)
	}
}

func TestInitContainersAndSidecar(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	always := corev1.ContainerRestartPolicyAlways
	n.create(newPod("web", "job:v1", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{
			{Name: "first", Image: "job:v1"},
			{Name: "side", Image: "web:v1", RestartPolicy: &always},
			{Name: "second", Image: "job:v1"},
		}
	}))
	n.awaitPod("web", "initializing", func(p *corev1.Pod) bool {
		return len(p.Status.InitContainerStatuses) == 3 && p.Status.InitContainerStatuses[0].State.Running != nil && p.Status.Phase == corev1.PodPending &&
			condition(p, corev1.PodInitialized) == corev1.ConditionFalse && p.Status.ContainerStatuses[0].State.Waiting.Reason == "PodInitializing"
	})
	n.stepUntil(time.Second, "succeeded", func() bool { return n.pod("web").Status.Phase == corev1.PodSucceeded })
	// In the order of their identifiers: first, side, second, and then the pod's own.
	var order []string
	s := n.pod("web").Status
	for _, c := range slices.Concat(s.InitContainerStatuses, s.ContainerStatuses) {
		order = append(order, c.ContainerID)
		if c.State.Terminated == nil {
			t.Errorf("container %s has not ended: %+v", c.Name, c.State)
		}
	}
	if !slices.IsSorted(order) {
		t.Errorf("made in the order %v", order)
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var answers atomicCodes
	n.runtime.Commands = map[string]emulator.Program{
		"ready": answers.program("ready"), "alive": answers.program("alive"),
	}
	answers.set("ready", 1)
	probe := func(command string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2, SuccessThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{command}}}}
	}
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe, p.Spec.Containers[0].LivenessProbe = probe("ready"), probe("alive")
	}))
	n.awaitPod("web", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if ready(n.pod("web")) {
		t.Error("ready too early")
	}
	answers.set("ready", 0)
	n.stepUntil(time.Second, "ready", func() bool { return ready(n.pod("web")) })
	answers.set("ready", 1)
	n.stepUntil(time.Second, "unready", func() bool { return !ready(n.pod("web")) })
	answers.set("ready", 0)
	answers.set("alive", 1)
	n.stepUntil(time.Second, "restarted", func() bool { return n.pod("web").Status.ContainerStatuses[0].RestartCount > 0 })
	answers.set("alive", 0)
	n.stepUntil(time.Second, "ready again", func() bool { return ready(n.pod("web")) })
	if !n.seen("Unhealthy") {
		t.Error("no event Unhealthy")
	}
}

func TestVolumesAndEnvironment(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{
			{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
			{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}},
		}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "cm", MountPath: "/etc/cm"}}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
	}))
	n.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	n.await("a volume that cannot be made", func() bool { return n.seen("FailedMount") })
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cm"}, Data: map[string]string{"key": "one"}}
	n.create(cm)
	n.stepUntil(100*time.Millisecond, "ready", func() bool { return ready(n.pod("web")) })
	path := filepath.Join(n.dir, "pods", "uid-web", "volumes", "cm", "key")
	content := func() string { data, _ := os.ReadFile(path); return string(data) }
	if content() != "one" {
		t.Errorf("content %q", content())
	}
	cm.Data["key"] = "two"
	if err := n.client.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	n.await("the change to be there", func() bool { return content() == "two" })
	n.remove("web")
	n.await("the pod to be gone", func() bool { return n.pod("web") == nil })
	n.await("the directory to be gone", func() bool { _, err := os.Stat(filepath.Join(n.dir, "pods", "uid-web")); return os.IsNotExist(err) })
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), n.dir) {
		t.Errorf("something is left mounted: %v", err)
	}
}

func TestRejectedPodIsNotStarted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	port := func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	}
	n.create(newPod("one", "web:v1", port))
	n.awaitPod("one", "ready", ready)
	before := n.called("Create")
	n.create(newPod("two", "web:v1", port))
	pod := n.awaitPod("two", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if pod.Status.Reason != "NodePorts" || len(pod.Status.ContainerStatuses) > 0 || n.called("Create") != before {
		t.Errorf("status %+v", pod.Status)
	}
	n.remove("two")
	n.await("the pod to be gone", func() bool { return n.pod("two") == nil })
}

func TestPodThatCannotStartGoesAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/"}}}}
	}))
	tries := 0
	n.stepUntil(30*time.Second, "several tries", func() bool {
		if n.seen("FailedMount") {
			tries++
		}
		return tries > 6
	})
	n.remove("web")
	n.await("the end without waiting for the next try", func() bool { return n.called("RemoveSandbox") > 0 })
}
