package nodeagent_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/runtime/emulator"
)

func TestAllContainersRestart(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	never := corev1.ContainerRestartPolicyNever
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "job:v1"}}
		p.Spec.Containers = append(p.Spec.Containers,
			corev1.Container{Name: "done", Image: "job:v1"},
			corev1.Container{Name: "watcher", Image: "bad:v1", RestartPolicy: &never, RestartPolicyRules: []corev1.ContainerRestartRule{{
				Action:    corev1.ContainerRestartRuleActionRestartAllContainers,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{3}},
			}}})
	}))
	var pod *corev1.Pod // as it is then: it may go on at any moment
	n.stepUntil(time.Second, "all containers to run again", func() bool {
		pod = n.pod("web")
		s := pod.Status
		if len(s.InitContainerStatuses) != 1 || s.InitContainerStatuses[0].RestartCount < 1 {
			return false
		}
		for _, c := range s.ContainerStatuses {
			if c.RestartCount < 1 || c.LastTerminationState.Terminated == nil {
				return false
			}
		}
		return true
	})
	if pod.Status.PodIP != "10.244.0.1" || condition(pod, corev1.AllContainersRestarting) == "" || pod.Status.Phase != corev1.PodRunning {
		t.Errorf("status %+v", pod.Status)
	}
	if last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; last.ExitCode != 137 {
		t.Errorf("the other container ended with %d: it was to be killed at once", last.ExitCode)
	}
	if n.called("StopSandbox") > 0 || !n.seen("RestartAllContainers") {
		t.Error("the sandbox was stopped, or nothing was said")
	}
	n.remove("web")
	n.stepUntil(time.Second, "the pod to be gone", func() bool { return n.pod("web") == nil })
}

func TestContainersHavePoliciesOfTheirOwn(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	never, onFailure := corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure
	n.create(newPod("mixed", "bad:v1", func(p *corev1.Pod) {
		p.Spec.Containers[0].RestartPolicy = &never
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "again", Image: "bad:v1", RestartPolicy: &onFailure})
	}))
	n.stepUntil(time.Second, "a restart", func() bool {
		all := n.pod("mixed").Status.ContainerStatuses
		return len(all) == 2 && all[1].RestartCount > 0 && all[0].State.Terminated != nil
	})
	s := n.pod("mixed").Status
	if c := s.ContainerStatuses[0]; c.RestartCount != 0 || c.State.Terminated == nil || c.State.Terminated.ExitCode != 3 {
		t.Errorf("container %+v", c)
	}
	if s.Phase != corev1.PodRunning {
		t.Errorf("phase %s", s.Phase)
	}
}

// A container on its way out is unready as soon as its probe says so, and not
// killed for a liveness probe.
func TestReadinessIsAskedUntilTheEnd(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var answers atomicCodes
	n.runtime.Commands = map[string]emulator.Program{"ready": answers.program("ready"), "alive": answers.program("alive")}
	n.runtime.SetProgram("web:v1", emulator.Stubborn())
	probe := func(command string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, SuccessThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{command}}}}
	}
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		seconds := int64(600)
		p.Spec.TerminationGracePeriodSeconds = &seconds
		p.Spec.Containers[0].ReadinessProbe, p.Spec.Containers[0].LivenessProbe = probe("ready"), probe("alive")
	}))
	n.stepUntil(time.Second, "ready", func() bool { return ready(n.pod("web")) })
	n.remove("web")
	n.await("the signal", func() bool { return n.called("Signal") > 0 })
	answers.set("ready", 1)
	answers.set("alive", 1)
	n.stepUntil(time.Second, "unready", func() bool { return !ready(n.pod("web")) })
	if c := n.pod("web").Status.ContainerStatuses[0]; c.State.Running == nil || c.RestartCount != 0 {
		t.Errorf("container %+v", c)
	}
}

// Each of a pod's containers may use its share of 12 KiB for its last words.
func TestLastWordsAreShared(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.runtime.SetProgram("job:v1", writesFile("/dev/end", "", strings.Repeat("x", 10_000)))
	n.create(newPod("many", "job:v1", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers = nil
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: "job:v1", TerminationMessagePath: "/dev/end"})
		}
	}))
	pod := n.awaitPod("many", "the end", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	for _, c := range pod.Status.ContainerStatuses {
		if got := len(c.State.Terminated.Message); got != 2048 {
			t.Errorf("%s: %d bytes", c.Name, got)
		}
	}
}

func TestStatusTellsUserSignalAndMounts(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	user, group, signal := int64(7), int64(8), corev1.Signal("SIGUSR1")
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &group, SupplementalGroups: []int64{9}}
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{StopSignal: &signal}
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", ReadOnly: true}}
		yes := true
		p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = "sub", &yes
	}))
	c := n.awaitPod("web", "ready", ready).Status.ContainerStatuses[0]
	if u := c.User; u == nil || u.Linux == nil || u.Linux.UID != 7 || u.Linux.GID != 8 || len(u.Linux.SupplementalGroups) != 2 {
		t.Errorf("user %+v", c.User)
	}
	if c.StopSignal == nil || *c.StopSignal != "SIGUSR1" {
		t.Errorf("stop signal %v", c.StopSignal)
	}
	if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].MountPath != "/v" || *c.VolumeMounts[0].RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
		t.Errorf("mounts %+v", c.VolumeMounts)
	}
	data, err := os.ReadFile(n.dir + "/pods/uid-web/etc/hostname")
	if err != nil || string(data) != "web.sub.default.svc.cluster.local\n" {
		t.Errorf("host name %q, %v", data, err)
	}
}

// A name that the kernel does not take is said, not cut.
func TestLongHostNames(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.create(newPod("web", "web:v1", func(p *corev1.Pod) {
		yes := true
		p.Spec.Hostname, p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = strings.Repeat("h", 40), "sub", &yes
	}))
	n.await("the event", func() bool { return n.seen("too long") })
}

// writesFile is a program that writes a file below one of its mounts.
func writesFile(mount, name, content string) emulator.Program {
	return func(_ context.Context, p *emulator.Process) int {
		for _, m := range p.Config.Mounts {
			if m.Destination == mount {
				if err := os.WriteFile(filepath.Join(m.Source, name), []byte(content), 0o600); err != nil {
					return 1
				}
			}
		}
		return 0
	}
}

// tellEnvironment is a program that tells its environment and runs on.
func tellEnvironment(to chan<- []string) emulator.Program {
	return func(ctx context.Context, p *emulator.Process) int {
		to <- p.Config.Env
		return emulator.Graceful(0)(ctx, p)
	}
}
