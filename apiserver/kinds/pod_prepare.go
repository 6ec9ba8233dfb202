package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func preparePod(o, old *corev1.Pod) {
	if g := o.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		// As old clients wrote "as short as possible".
		one := int64(1)
		o.Spec.TerminationGracePeriodSeconds = &one
	}
	if old != nil {
		keepPodResources(o, old)
		dropUnused(&o.Spec, &old.Spec)
		o.Status = old.Status
		raiseGeneration(o, old, &o.Spec, &old.Spec)
		return
	}
	dropUnused(&o.Spec, nil)
	defaultPodResources(o)
	o.Generation = 1
	o.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(&o.Spec)}
	if len(o.Spec.SchedulingGates) > 0 {
		o.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

// deletePod gives a running pod the time it asks for to stop. Where nothing
// runs (not bound, or finished) and with a grace period of 0 it goes at once.
func deletePod(o txn.Object, options *metav1.DeleteOptions, _ time.Time) kind.Deletion {
	pod := o.(*corev1.Pod)
	grace := deref(pod.Spec.TerminationGracePeriodSeconds, 0)
	if options != nil && options.GracePeriodSeconds != nil {
		grace = *options.GracePeriodSeconds
	}
	if pod.Spec.NodeName == "" || podFinished(pod) || grace == 0 {
		return kind.Deletion{}
	}
	return kind.Deletion{Graceful: true, GracePeriodSeconds: max(grace, 1)}
}

// qosClass says who is stopped first when a node runs out of memory:
// Guaranteed where every container's limits of cpu and memory equal its
// requests, BestEffort where there are none at all.
func qosClass(s *corev1.PodSpec) corev1.PodQOSClass {
	if s.Resources != nil && len(s.Resources.Requests)+len(s.Resources.Limits) > 0 {
		any, guaranteed := qosOf(s.Resources)
		return qosName(any, guaranteed)
	}
	any, guaranteed := false, true
	for _, containers := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range containers {
			a, g := qosOf(&containers[i].Resources)
			any, guaranteed = any || a, guaranteed && g
		}
	}
	return qosName(any, guaranteed)
}

func qosName(any, guaranteed bool) corev1.PodQOSClass {
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func qosOf(r *corev1.ResourceRequirements) (any, guaranteed bool) {
	guaranteed = true
	for _, name := range [...]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := r.Requests[name], r.Limits[name]
		any = any || !request.IsZero() || !limit.IsZero()
		guaranteed = guaranteed && !limit.IsZero() && request.Cmp(limit) == 0
	}
	return any, guaranteed
}
