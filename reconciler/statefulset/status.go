package statefulset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// status is what the set's status says about its pods, and how long until one
// that is ready has been so for long enough (0: none is waiting).
func status(s State, collisions *int32) (appsv1.StatefulSetStatus, time.Duration) {
	set := s.Set
	next := appsv1.StatefulSetStatus{
		ObservedGeneration: set.Generation, CurrentRevision: s.Current, UpdateRevision: s.Update,
		CollisionCount: collisions, Conditions: set.Status.Conditions,
	}
	var wait time.Duration
	for _, p := range s.Pods {
		next.Replicas++
		if p.Status.Phase == corev1.PodRunning && podstate.IsReady(p) {
			next.ReadyReplicas++
			ok, left := podstate.Available(p, set.Spec.MinReadySeconds, s.Now)
			if ok {
				next.AvailableReplicas++
			} else if left > 0 && (wait == 0 || left < wait) {
				wait = left
			}
		}
		if p.DeletionTimestamp != nil {
			continue
		}
		if p.Labels[revisionLabel] == s.Current {
			next.CurrentReplicas++
		}
		if s.IsUpdate(p.Labels[revisionLabel]) {
			next.UpdatedReplicas++
		}
	}
	if complete(set, &next) {
		next.CurrentRevision, next.CurrentReplicas = next.UpdateRevision, next.UpdatedReplicas
	}
	return next, wait
}

// complete tells whether an update is through. It never is while a partition
// holds some pods back.
func complete(set *appsv1.StatefulSet, s *appsv1.StatefulSetStatus) bool {
	n := int32(replicas(set))
	return set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		s.UpdatedReplicas == n && s.Replicas == n && s.ReadyReplicas == n
}
