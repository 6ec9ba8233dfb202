package kinds

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/apiserver/kind"
)

func podColumns() []column {
	return append([]column{
		nameColumn(),
		str("Ready", "The aggregate readiness state of this pod for accepting traffic."),
		str("Status", "The aggregate status of the containers in this pod."),
		str("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
		ageColumn(),
	}, wide(
		str("IP", corev1.PodStatus{}.SwaggerDoc()["podIP"]),
		str("Node", corev1.PodSpec{}.SwaggerDoc()["nodeName"]),
		str("Nominated Node", corev1.PodStatus{}.SwaggerDoc()["nominatedNodeName"]),
		str("Readiness Gates", corev1.PodSpec{}.SwaggerDoc()["readinessGates"]),
	)...)
}

func podRow(o *corev1.Pod, now time.Time) []any {
	s := summarizePod(o)
	restarts := strconv.Itoa(s.restarts)
	if s.restarts != 0 && !s.lastRestart.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, kind.Age(s.lastRestart, now))
	}
	ip := ""
	if len(o.Status.PodIPs) > 0 {
		ip = o.Status.PodIPs[0].IP
	}
	return []any{
		o.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, age(o, now),
		orNone(ip), orNone(o.Spec.NodeName), orNone(o.Status.NominatedNodeName), readinessGates(o),
	}
}

func readinessGates(o *corev1.Pod) string {
	if len(o.Spec.ReadinessGates) == 0 {
		return none
	}
	met := 0
	for _, gate := range o.Spec.ReadinessGates {
		if podCondition(o, gate.ConditionType) == corev1.ConditionTrue {
			met++
		}
	}
	return fmt.Sprintf("%d/%d", met, len(o.Spec.ReadinessGates))
}

// podCondition is the status of a condition; empty when the pod has none.
func podCondition(o *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	for i := range o.Status.Conditions {
		if o.Status.Conditions[i].Type == t {
			return o.Status.Conditions[i].Status
		}
	}
	return ""
}

// podSummary is what kubectl's pod table says about the containers.
type podSummary struct {
	reason       string
	ready, total int
	restarts     int
	lastRestart  metav1.Time
}

func (s *podSummary) count(c *corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

func summarizePod(o *corev1.Pod) podSummary {
	s := podSummary{reason: string(o.Status.Phase), total: len(o.Spec.Containers)}
	if o.Status.Reason != "" {
		s.reason = o.Status.Reason
	}
	for i := range o.Status.Conditions {
		if c := &o.Status.Conditions[i]; c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	initializing, sidecars := s.initContainers(o)
	if !initializing || podCondition(o, corev1.PodInitialized) == corev1.ConditionTrue {
		// From here on only the containers that run along are counted.
		s.restarts, s.lastRestart = sidecars.restarts, sidecars.lastRestart
		s.containers(o)
	}
	if o.DeletionTimestamp != nil {
		if o.Status.Reason == "NodeLost" {
			s.reason = "Unknown"
		} else if !podFinished(o) {
			s.reason = "Terminating"
		}
	}
	return s
}

// podFinished says that no container of the pod will run again.
func podFinished(o *corev1.Pod) bool {
	return o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed
}

func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// initContainers looks at the init containers up to the first one that is not
// done, and sums up the sidecars among them apart.
func (s *podSummary) initContainers(o *corev1.Pod) (initializing bool, sidecars podSummary) {
	restartable := map[string]bool{}
	for i := range o.Spec.InitContainers {
		if c := &o.Spec.InitContainers[i]; sidecar(c) {
			restartable[c.Name] = true
			s.total++
		}
	}
	for i := range o.Status.InitContainerStatuses {
		c := &o.Status.InitContainerStatuses[i]
		s.count(c)
		if restartable[c.Name] {
			sidecars.count(c)
		}
		terminated, waiting := c.State.Terminated, c.State.Waiting
		switch {
		case terminated != nil && terminated.ExitCode == 0:
			continue
		case restartable[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case terminated != nil:
			s.reason = "Init:" + exitReason(terminated)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			s.reason = "Init:" + waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(o.Spec.InitContainers))
		}
		return true, sidecars
	}
	return false, sidecars
}

func (s *podSummary) containers(o *corev1.Pod) {
	running := false
	// The first container that has something to say wins, so look last to first.
	for i := len(o.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &o.Status.ContainerStatuses[i]
		s.count(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = exitReason(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason == "Completed" && running {
		s.reason = "NotReady"
		if podCondition(o, corev1.PodReady) == corev1.ConditionTrue {
			s.reason = "Running"
		}
	}
}

func exitReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}
