package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Observed is what a node knows about one of its pods.
type Observed struct {
	// SandboxReady says that namespaces and network are there.
	SandboxReady    bool
	PodIPs, HostIPs []string
	// StartTime is when the node first saw the pod.
	StartTime time.Time
	// Containers by name, of all three lists of the spec.
	Containers map[string]*Container
	// Failure ends the pod whatever its containers did: not admitted, evicted,
	// out of time.
	Failure *Failure
	// AllAgain says that all containers were to restart once: a condition tells
	// of it from then on.
	AllAgain bool
	// Resources are those that the pod as a whole has; nil if it has none.
	Resources *corev1.ResourceRequirements
	// Resize is set while the containers' resources are not what the spec says.
	Resize *Resize
	// Stopped says that the pod is at its end: nothing of it runs and nothing
	// will be started again.
	Stopped bool
}

// Failure is why a node gave up a pod.
type Failure struct {
	Reason, Message string
	// Disruption says that it was the node that gave up a pod that could have
	// gone on.
	Disruption bool
}

// Resize is an in-place resize that is under way, or that waits for Reason:
// Deferred (others use what it needs) or Infeasible (the node never has it).
type Resize struct {
	InProgress      bool
	Reason, Message string
}

// Container is what a node knows about one container: its newest attempt and
// what came before it.
type Container struct {
	ID string
	// Attempt is the restart count: 0 for the first.
	Attempt int
	// State is empty while no attempt was created.
	State          runtime.State
	Image, ImageID string
	// Resources are those that the newest attempt has; nil if unknown.
	Resources *corev1.ResourceRequirements
	Started   time.Time
	Finished  time.Time
	ExitCode  int
	OOMKilled bool
	Reason    string
	Message   string
	LogPath   string
	// User is who the newest attempt's process began as; nil if unknown.
	User *corev1.LinuxContainerUser
	// StopSignal is what ends it gracefully, such as SIGTERM; empty if unknown.
	StopSignal string
	// Waiting is why the container is not running and not simply ended:
	// ErrImagePull, CrashLoopBackOff; it hides a finished attempt.
	Waiting *Waiting
	// Last is how the attempt before this one ended.
	Last *corev1.ContainerStateTerminated
	// StartedUp says that the startup probe, if any, has succeeded and that
	// postStart has ended; Ready is the readiness probe's word.
	StartedUp, Ready bool
	// Starting says that the process runs but postStart has not ended.
	Starting bool
	// Stale says that the newest attempt ran in a sandbox that is gone, as
	// after a reboot.
	Stale bool
	// Again says that the newest attempt, ended or about to, is to be followed
	// by another whatever the policies say: all of the pod's containers restart.
	Again bool
	// Crashes counts ends since the container last ran for long; Retry is when
	// a start that did not succeed may be tried again.
	Crashes int
	Retry   time.Time
}

// Waiting is a reason for not running.
type Waiting struct{ Reason, Message string }

// Running tells whether the container's process runs.
func (c *Container) Running() bool { return c != nil && c.State == runtime.StateRunning }

// Exited tells whether the newest attempt has ended.
func (c *Container) Exited() bool { return c != nil && c.State == runtime.StateExited }

// Created tells whether any attempt was made.
func (c *Container) Created() bool { return c != nil && c.State != "" }

// Succeeded tells whether the newest attempt ended with exit code 0.
func (c *Container) Succeeded() bool { return c.Exited() && c.ExitCode == 0 }

// Restartable tells whether an init container is a sidecar.
func Restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
