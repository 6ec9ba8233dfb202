package status

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// namer makes container statuses of one pod.
type namer struct {
	runtime  string
	pod      *corev1.Pod
	observed *Observed
}

func (n namer) statuses(containers []corev1.Container) []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for i := range containers {
		all = append(all, n.status(&containers[i]))
	}
	return all
}

func (n namer) ephemeral() []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for i := range n.pod.Spec.EphemeralContainers {
		c := corev1.Container(n.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		st := n.status(&c)
		st.Ready = false
		all = append(all, st)
	}
	return all
}

func (n namer) status(c *corev1.Container) corev1.ContainerStatus {
	st := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Started: ptr.To(false)}
	o := n.observed.Containers[c.Name]
	if o == nil {
		o = &Container{}
	}
	if o.Image != "" {
		st.Image = o.Image
	}
	st.ImageID = o.ImageID
	st.RestartCount = int32(o.Attempt)
	st.ContainerID = ContainerID(n.runtime, o.ID)
	if o.Created() {
		st.VolumeMounts = mountStatuses(c)
		if o.User != nil {
			st.User = &corev1.ContainerUser{Linux: o.User}
		}
		if o.StopSignal != "" {
			st.StopSignal = ptr.To(corev1.Signal(o.StopSignal))
		}
	}
	if o.Last != nil {
		st.LastTerminationState.Terminated = o.Last
	}
	n.state(o, &st)
	if has := o.Resources; o.Created() && has != nil {
		if len(has.Requests)+len(has.Limits) > 0 || n.observed.Resize != nil {
			st.Resources = has.DeepCopy()
		}
		allocated := &c.Resources
		if r := n.observed.Resize; r != nil && !r.InProgress {
			allocated = has
		}
		st.AllocatedResources = allocated.Requests
	}
	return st
}

func (n namer) state(o *Container, st *corev1.ContainerStatus) {
	switch {
	case o.Running() && !o.Starting:
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: at(o.Started)}
		st.Started = ptr.To(o.StartedUp)
		st.Ready = o.StartedUp && o.Ready
	case o.Exited() && (o.Waiting == nil || n.observed.Stopped):
		st.State.Terminated = Terminated(o, n.runtime)
		st.Ready = o.ExitCode == 0 && n.oneShot(st.Name)
	case n.observed.Stopped:
		// Never ran, or nothing is known of how it went.
		st.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown",
			Message: "The container could not be located when the pod was terminated"}
	case o.Exited():
		st.LastTerminationState.Terminated = Terminated(o, n.runtime)
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: o.Waiting.Reason, Message: o.Waiting.Message}
	case o.Waiting != nil:
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: o.Waiting.Reason, Message: o.Waiting.Message}
	case len(n.pod.Spec.InitContainers) > 0:
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
	default:
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	}
}

// oneShot tells whether name is an init container that ends before the others
// start: it is ready when it is done.
func (n namer) oneShot(name string) bool {
	for i := range n.pod.Spec.InitContainers {
		if c := &n.pod.Spec.InitContainers[i]; c.Name == name {
			return !Restartable(c)
		}
	}
	return false
}

// ContainerID is a runtime's identifier as pods' status carries it.
func ContainerID(runtimeName, id string) string {
	if id == "" {
		return ""
	}
	return runtimeName + "://" + id
}

// Terminated says how the newest attempt ended.
func Terminated(o *Container, runtimeName string) *corev1.ContainerStateTerminated {
	reason := o.Reason
	switch {
	case o.OOMKilled:
		reason = "OOMKilled"
	case reason != "":
	case o.ExitCode == 0:
		reason = "Completed"
	default:
		reason = "Error"
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: int32(o.ExitCode), Reason: reason, Message: o.Message,
		StartedAt: at(o.Started), FinishedAt: at(o.Finished),
		ContainerID: ContainerID(runtimeName, o.ID),
	}
}

// mountStatuses tell which volumes a container has.
func mountStatuses(c *corev1.Container) []corev1.VolumeMountStatus {
	var all []corev1.VolumeMountStatus
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		st := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if r := m.RecursiveReadOnly; r != nil && *r != corev1.RecursiveReadOnlyDisabled {
				mode = corev1.RecursiveReadOnlyEnabled // the kernel is asked for it: IfPossible is possible
			}
			st.RecursiveReadOnly = &mode
		}
		all = append(all, st)
	}
	return all
}
