// Package podstate says in what state a pod is, in the words that the
// controllers share: active, ready, available, terminal.
package podstate

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// IsTerminal tells whether the pod has ended for good.
func IsTerminal(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// IsActive tells whether the pod counts towards its owner's replicas.
func IsActive(p *corev1.Pod) bool {
	return !IsTerminal(p) && p.DeletionTimestamp == nil
}

// Condition finds a condition by its type; nil when there is none.
func Condition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// IsReady tells whether the pod's Ready condition is true.
func IsReady(p *corev1.Pod) bool {
	c := Condition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Available tells whether the pod has been ready for minReadySeconds, and if it
// is ready but not for long enough, how long it still takes.
func Available(p *corev1.Pod, minReadySeconds int32, now time.Time) (bool, time.Duration) {
	if !IsReady(p) {
		return false, 0
	}
	if minReadySeconds == 0 {
		return true, 0
	}
	since := Condition(p, corev1.PodReady).LastTransitionTime
	if since.IsZero() {
		return false, 0
	}
	left := since.Add(time.Duration(minReadySeconds) * time.Second).Sub(now)
	return left <= 0, max(left, 0)
}
