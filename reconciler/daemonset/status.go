package daemonset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/headway-sh/headway/reconciler/podstate"
)

// status is what the set's status says, and how long until a pod that is ready
// has been so for long enough (0: none is waiting).
func status(s State, collisions *int32) (appsv1.DaemonSetStatus, time.Duration) {
	p := newPlan(s)
	byNode := p.byNode()
	next := appsv1.DaemonSetStatus{ObservedGeneration: s.Set.Generation, DesiredNumberScheduled: int32(p.desired), CollisionCount: collisions, Conditions: s.Set.Status.Conditions}
	var wait time.Duration
	for _, n := range s.Nodes {
		run, _ := p.judge.Of(n)
		pods := byNode[n.Name]
		if !run && len(pods) > 0 {
			next.NumberMisscheduled++
		}
		if !run || len(pods) == 0 {
			continue
		}
		next.CurrentNumberScheduled++
		first := pods[0]
		if podstate.IsReady(first) {
			next.NumberReady++
			ok, left := podstate.Available(first, s.Set.Spec.MinReadySeconds, s.Now)
			if ok {
				next.NumberAvailable++
			}
			if left > 0 && (wait == 0 || left < wait) {
				wait = left
			}
		}
		if s.IsUpdate(first) {
			next.UpdatedNumberScheduled++
		}
	}
	next.NumberUnavailable = next.DesiredNumberScheduled - next.NumberAvailable
	// A successor that has to be ready for some time is waited for as well.
	for _, pod := range s.Pods {
		if _, left := podstate.Available(pod, s.Set.Spec.MinReadySeconds, s.Now); left > 0 && (wait == 0 || left < wait) {
			wait = left
		}
	}
	return next, wait
}
