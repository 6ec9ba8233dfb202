package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Compute gives the status that the pod has now. Fields and conditions that
// are not the node's are taken from the pod's present status.
func Compute(pod *corev1.Pod, o *Observed, runtimeName string, now time.Time) corev1.PodStatus {
	s := corev1.PodStatus{
		QOSClass:           QOSClass(pod),
		ObservedGeneration: pod.Generation,
		NominatedNodeName:  pod.Status.NominatedNodeName,
		Resize:             pod.Status.Resize, //nolint:staticcheck // kept as it is
		StartTime:          timeOrNil(o.StartTime),
	}
	if len(o.HostIPs) > 0 {
		s.HostIP = o.HostIPs[0]
		for _, ip := range o.HostIPs {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	if o.Failure == nil || len(o.Containers) > 0 {
		names := namer{runtime: runtimeName, pod: pod, observed: o}
		s.InitContainerStatuses = names.statuses(pod.Spec.InitContainers)
		s.ContainerStatuses = names.statuses(pod.Spec.Containers)
		s.EphemeralContainerStatuses = names.ephemeral()
	}
	if len(o.PodIPs) > 0 {
		s.PodIP = o.PodIPs[0]
		for _, ip := range o.PodIPs {
			s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
		}
	}
	if has := o.Resources; has != nil && pod.Spec.Resources != nil {
		s.Resources = has.DeepCopy()
		allocated := pod.Spec.Resources
		if r := o.Resize; r != nil && !r.InProgress {
			allocated = has
		}
		s.AllocatedResources = allocated.Requests
	}
	s.Phase = phase(pod, o, &s)
	if o.Failure != nil {
		s.Reason, s.Message = o.Failure.Reason, o.Failure.Message
	}
	s.Conditions = conditions(pod, o, &s, now)
	return s
}

// tally counts the containers of a pod by where they are.
type tally struct {
	pendingInit, failedInit              int
	running, waiting, stopped, succeeded int
	again                                int // of those stopped, that start again
	sidecars                             int // that run
}

func count(pod *corev1.Pod, o *Observed, s *corev1.PodStatus) (t tally) {
	for i := range pod.Spec.InitContainers {
		st := s.InitContainerStatuses[i]
		ended := st.State.Terminated
		if ended == nil && st.State.Waiting != nil {
			ended = st.LastTerminationState.Terminated
			if ended != nil && ended.ExitCode == 0 {
				ended = nil
			}
		}
		c := &pod.Spec.InitContainers[i]
		switch {
		case Restartable(c):
			if st.State.Running != nil {
				t.sidecars++
			}
			if st.Started == nil || !*st.Started {
				t.pendingInit++
			}
		case ended == nil:
			t.pendingInit++
		case ended.ExitCode == 0:
		case FailedForGood(pod, c, o.Containers[c.Name]):
			t.failedInit++
		default:
			t.pendingInit++
		}
	}
	for i := range s.ContainerStatuses {
		st := &s.ContainerStatuses[i]
		ended := st.State.Terminated
		if ended == nil && st.State.Waiting != nil {
			ended = st.LastTerminationState.Terminated
		}
		switch {
		case st.State.Running != nil:
			t.running++
		case ended == nil:
			t.waiting++
		default:
			t.stopped++
			if ended.ExitCode == 0 {
				t.succeeded++
			}
			if c := &pod.Spec.Containers[i]; st.State.Waiting != nil || Restarts(pod, c, o.Containers[c.Name]) {
				t.again++
			}
		}
	}
	return t
}

func phase(pod *corev1.Pod, o *Observed, s *corev1.PodStatus) corev1.PodPhase {
	if o.Failure != nil && (o.Stopped || len(o.Containers) == 0) {
		return corev1.PodFailed
	}
	t := count(pod, o, s)
	if o.Stopped {
		if t.stopped == len(pod.Spec.Containers) && t.succeeded == t.stopped {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	}
	p := running(t)
	if Terminal(p) && t.sidecars > 0 {
		return corev1.PodRunning // until they have stopped too
	}
	return p
}

// running is the phase of a pod that has not been stopped.
func running(t tally) corev1.PodPhase {
	// A sidecar that has to start anew does not take a pod back to Pending.
	begun := t.running+t.stopped > 0
	switch {
	case t.failedInit > 0:
		return corev1.PodFailed
	case t.pendingInit > 0 && !begun:
		return corev1.PodPending
	case t.waiting > 0:
		return corev1.PodPending
	case t.running > 0:
		return corev1.PodRunning
	case t.stopped == 0:
		return corev1.PodPending
	case t.again > 0:
		return corev1.PodRunning
	case t.stopped == t.succeeded:
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}

// Terminal tells whether a phase is an end.
func Terminal(p corev1.PodPhase) bool {
	return p == corev1.PodSucceeded || p == corev1.PodFailed
}

// QOSClass is the pod's quality of service: Guaranteed when every container
// has equal requests and limits for cpu and memory, BestEffort when none has
// any, else Burstable. Where the pod as a whole has resources, those decide.
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	resources := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
	var all []*corev1.ResourceRequirements
	if r := pod.Spec.Resources; r != nil && len(r.Requests)+len(r.Limits) > 0 {
		all = append(all, r)
	} else {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				all = append(all, &list[i].Resources)
			}
		}
	}
	some, guaranteed := false, true
	for _, r := range all {
		for _, name := range resources {
			limit, limited := r.Limits[name]
			request, requested := r.Requests[name]
			limited, requested = limited && !limit.IsZero(), requested && !request.IsZero()
			some = some || limited || requested
			if !limited || (requested && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	switch {
	case !some:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func timeOrNil(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	m := at(t)
	return &m
}

// at is a time as the API carries it: whole seconds.
func at(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(t.Truncate(time.Second))
}
