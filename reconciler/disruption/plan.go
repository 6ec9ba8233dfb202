package disruption

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// patience is how long an eviction may take until its pod counts again.
const patience = 2 * time.Minute

// Scale is how many pods a controller is to have.
type Scale struct {
	UID      types.UID
	Replicas int32
}

// Seen is what a budget's status is computed from.
type Seen struct {
	Pods []*corev1.Pod
	// Scales are those of the pods' controllers, once each. Unmanaged counts pods
	// without a controller. Both are only needed when NeedsScale.
	Scales    []Scale
	Unmanaged int
}

// NeedsScale tells whether a budget is about a part of all pods, so that it must
// be known how many there should be.
func NeedsScale(b *policyv1.PodDisruptionBudget) bool {
	return b.Spec.MaxUnavailable != nil || b.Spec.MinAvailable != nil && b.Spec.MinAvailable.Type == intstr.String
}

// Decide computes a budget's status, and after what time it is to be computed
// again though nothing happens; 0: never. late are the pods that should have
// been gone by now.
func Decide(b *policyv1.PodDisruptionBudget, seen Seen, now time.Time) (status policyv1.PodDisruptionBudgetStatus, after time.Duration, late []*corev1.Pod, err error) {
	status = *b.Status.DeepCopy()
	status.ObservedGeneration = b.Generation
	status.ExpectedPods, status.DesiredHealthy, err = wanted(b, seen)
	if err != nil {
		return status, 0, nil, err
	}
	status.DisruptedPods = nil
	status.CurrentHealthy = 0
	for _, p := range seen.Pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		if at, ok := b.Status.DisruptedPods[p.Name]; ok {
			left := at.Add(patience).Sub(now)
			if left >= 0 {
				if status.DisruptedPods == nil {
					status.DisruptedPods = map[string]metav1.Time{}
				}
				status.DisruptedPods[p.Name] = at
				if left++; after == 0 || left < after {
					after = left
				}
				continue
			}
			late = append(late, p)
		}
		if podstate.IsReady(p) {
			status.CurrentHealthy++
		}
	}
	// A budget without pods allows nothing: when the first ones come, they are
	// protected before this status is computed again.
	status.DisruptionsAllowed = max(status.CurrentHealthy-status.DesiredHealthy, 0)
	if status.ExpectedPods <= 0 {
		status.DisruptionsAllowed = 0
	}
	reason, truth := policyv1.InsufficientPodsReason, metav1.ConditionFalse
	if status.DisruptionsAllowed > 0 {
		reason, truth = policyv1.SufficientPodsReason, metav1.ConditionTrue
	}
	condition(&status, truth, reason, "", now)
	return status, after, late, nil
}

func condition(s *policyv1.PodDisruptionBudgetStatus, truth metav1.ConditionStatus, reason, message string, now time.Time) {
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: truth, Reason: reason, Message: message,
		ObservedGeneration: s.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
	})
}

// failSafe is the status of a budget that cannot be computed: nothing may be
// evicted.
func failSafe(b *policyv1.PodDisruptionBudget, why error, now time.Time) policyv1.PodDisruptionBudgetStatus {
	s := *b.Status.DeepCopy()
	s.DisruptionsAllowed = 0
	s.ObservedGeneration = b.Generation
	condition(&s, metav1.ConditionFalse, policyv1.SyncFailedReason, why.Error(), now)
	return s
}

// wanted is how many pods there should be, and how many of them healthy.
func wanted(b *policyv1.PodDisruptionBudget, seen Seen) (expected, healthy int32, err error) {
	for _, s := range seen.Scales {
		expected += s.Replicas
	}
	part := func(v *intstr.IntOrString) (int32, error) {
		n, err := intstr.GetScaledValueFromIntOrPercent(v, int(expected), true)
		if err != nil {
			return 0, fmt.Errorf("read the budget: %w", err)
		}
		return int32(n), nil
	}
	switch {
	case b.Spec.MaxUnavailable != nil:
		most, err := part(b.Spec.MaxUnavailable)
		return expected, max(expected-most, 0), err
	case b.Spec.MinAvailable != nil && b.Spec.MinAvailable.Type == intstr.String:
		least, err := part(b.Spec.MinAvailable)
		return expected, least, err
	case b.Spec.MinAvailable != nil:
		return int32(len(seen.Pods)), b.Spec.MinAvailable.IntVal, nil
	}
	return int32(len(seen.Pods)), 0, nil
}

// stale tells whether a pod's condition that it is to be disrupted should be
// taken back now, and else when; 0: never. What the node's agent says stays.
func stale(p *corev1.Pod, now time.Time) (bool, time.Duration) {
	c := podstate.Condition(p, corev1.DisruptionTarget)
	if c == nil || c.Status != corev1.ConditionTrue || c.Reason == corev1.PodReasonTerminationByKubelet || !podstate.IsActive(p) {
		return false, 0
	}
	left := c.LastTransitionTime.Add(patience).Sub(now)
	return left <= 0, max(left, 0)
}
