package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// own are the condition types that the node writes.
var own = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
	corev1.PodResizePending, corev1.PodResizeInProgress, corev1.AllContainersRestarting,
}

// conditions computes the node's own conditions and keeps those of others;
// lastTransitionTime moves only when a status does.
func conditions(pod *corev1.Pod, o *Observed, s *corev1.PodStatus, now time.Time) []corev1.PodCondition {
	containersReady := containersReady(pod, s)
	wanted := []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: boolean(o.SandboxReady)},
		initialized(pod, s),
		ready(pod, containersReady),
		containersReady,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	if c, told := restarting(pod, o); told {
		wanted = append(wanted, c)
	}
	if r := o.Resize; r != nil {
		c := corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: r.Reason, Message: r.Message}
		if r.InProgress {
			c.Type = corev1.PodResizeInProgress
		}
		wanted = append(wanted, c)
	}
	if f := o.Failure; f != nil && f.Disruption {
		wanted = append(wanted, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet, Message: f.Message})
	}
	var all []corev1.PodCondition
	for _, c := range pod.Status.Conditions {
		if !slices.Contains(own, c.Type) && !slices.ContainsFunc(wanted, func(w corev1.PodCondition) bool { return w.Type == c.Type }) {
			all = append(all, c)
		}
	}
	for _, c := range wanted {
		old := find(pod.Status.Conditions, c.Type)
		if old != nil && c.Type == corev1.PodScheduled {
			c = *old
		}
		c.ObservedGeneration = pod.Generation
		c.LastTransitionTime = at(now)
		if old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		all = append(all, c)
	}
	return all
}

func initialized(pod *corev1.Pod, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	var missing []string
	for i := range s.InitContainerStatuses {
		st := &s.InitContainerStatuses[i]
		done := st.State.Terminated != nil && st.State.Terminated.ExitCode == 0
		if Restartable(&pod.Spec.InitContainers[i]) {
			done = st.Started != nil && *st.Started
		}
		if !done {
			missing = append(missing, st.Name)
		}
	}
	if len(s.InitContainerStatuses) < len(pod.Spec.InitContainers) {
		missing = names(pod.Spec.InitContainers)
	}
	if len(missing) > 0 && !begun(s) {
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(missing, " "))
	}
	return c
}

// begun tells whether any of the pod's own containers has run: init containers
// are through then, even when a sidecar restarts.
func begun(s *corev1.PodStatus) bool {
	return slices.ContainsFunc(s.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.LastTerminationState.Terminated != nil ||
			c.State.Terminated != nil && c.State.Terminated.Reason != "ContainerStatusUnknown"
	})
}

func containersReady(pod *corev1.Pod, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for i := range s.InitContainerStatuses {
		if Restartable(&pod.Spec.InitContainers[i]) && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, s.InitContainerStatuses[i].Name)
		}
	}
	for i := range s.ContainerStatuses {
		if !s.ContainerStatuses[i].Ready {
			unready = append(unready, s.ContainerStatuses[i].Name)
		}
	}
	if len(unready) > 0 {
		c.Reason = "ContainersNotReady"
		c.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// ready is containers' readiness and the pod's readiness gates.
func ready(pod *corev1.Pod, containers corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var closed []string
	for _, gate := range pod.Spec.ReadinessGates {
		switch of := find(pod.Status.Conditions, gate.ConditionType); {
		case of == nil:
			closed = append(closed, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case of.Status != corev1.ConditionTrue:
			closed = append(closed, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, of.Status))
		}
	}
	if len(closed) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(closed, ", ")
	}
	return c
}

func find(all []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range all {
		if all[i].Type == t {
			return &all[i]
		}
	}
	return nil
}

func names(containers []corev1.Container) []string {
	all := make([]string, 0, len(containers))
	for i := range containers {
		all = append(all, containers[i].Name)
	}
	return all
}

func boolean(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}
