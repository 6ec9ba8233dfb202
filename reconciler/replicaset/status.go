package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// status computes what the set's status says about its claimed pods, and when
// a pod will have been ready for long enough (0: none is waiting).
func status(rs *appsv1.ReplicaSet, pods []*corev1.Pod, failure *appsv1.ReplicaSetCondition, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	s := *rs.Status.DeepCopy()
	s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = 0, 0, 0, 0
	s.ObservedGeneration = rs.Generation
	var terminating int32
	var next time.Duration
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	for _, p := range pods {
		if !podstate.IsActive(p) {
			if p.DeletionTimestamp != nil && !podstate.IsTerminal(p) {
				terminating++
			}
			continue
		}
		s.Replicas++
		if template.Matches(labels.Set(p.Labels)) {
			s.FullyLabeledReplicas++
		}
		if !podstate.IsReady(p) {
			continue
		}
		s.ReadyReplicas++
		available, left := podstate.Available(p, rs.Spec.MinReadySeconds, now)
		if available {
			s.AvailableReplicas++
		} else if left > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	s.TerminatingReplicas = ptr.To(terminating)
	setFailure(&s, failure, now)
	return s, next
}

func setFailure(s *appsv1.ReplicaSetStatus, failure *appsv1.ReplicaSetCondition, now time.Time) {
	kept := s.Conditions[:0:0]
	for _, c := range s.Conditions {
		if c.Type != appsv1.ReplicaSetReplicaFailure {
			kept = append(kept, c)
		} else if failure != nil && c.Status == failure.Status && c.Reason == failure.Reason {
			*failure = c // a message names another pod each time: writing it would call for the next pass
		}
	}
	if failure != nil {
		if failure.LastTransitionTime.IsZero() {
			failure.LastTransitionTime = metav1.NewTime(now)
		}
		kept = append(kept, *failure)
	}
	s.Conditions = kept
}
