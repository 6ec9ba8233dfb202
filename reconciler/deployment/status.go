package deployment

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Reasons of the Progressing condition that mean something to clients.
const (
	reasonAvailable = "NewReplicaSetAvailable"
	reasonTimedOut  = "ProgressDeadlineExceeded"
	reasonPaused    = "DeploymentPaused"
)

// writeStatus computes the status from the sets and writes it if it differs.
// The result asks for a pass when the progress deadline may be over.
func (o *rollout) writeStatus(ctx context.Context) (reconcile.Result, error) {
	o.counts()
	if o.d.DeletionTimestamp == nil && !o.d.Spec.Paused {
		o.progress()
	}
	o.replicaFailure()
	if !equality.Semantic.DeepEqual(o.d.Status, o.was.Status) {
		if err := o.Client.Status().Update(ctx, o.d); err != nil {
			return reconcile.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	return reconcile.Result{RequeueAfter: o.deadlineLeft()}, nil
}

func (o *rollout) counts() {
	s := &o.d.Status
	s.ObservedGeneration = o.d.Generation
	s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.UpdatedReplicas = 0, 0, 0, 0
	var terminating int32
	for _, rs := range o.all() {
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
		s.AvailableReplicas += rs.Status.AvailableReplicas
		terminating += ptr.Deref(rs.Status.TerminatingReplicas, 0)
	}
	s.TerminatingReplicas = ptr.To(terminating)
	if o.new != nil {
		s.UpdatedReplicas = o.new.Status.Replicas
	}
	s.UnavailableReplicas = max(o.total()-s.AvailableReplicas, 0)
	l := LimitsOf(o.d)
	if s.AvailableReplicas >= l.Replicas-l.Unavailable {
		o.setCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
	} else {
		o.setCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
	}
}

// progress says whether the rollout is complete, moving or stuck.
func (o *rollout) progress() {
	if !o.hasDeadline() {
		o.removeCondition(appsv1.DeploymentProgressing)
		return
	}
	current := condition(&o.d.Status, appsv1.DeploymentProgressing)
	if current != nil && current.Reason == reasonAvailable && o.d.Status.Replicas == o.d.Status.UpdatedReplicas {
		return // once complete, a lost pod is the replica set's business
	}
	switch {
	case o.complete():
		o.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonAvailable, o.about("has successfully progressed."))
	case o.moved():
		o.putCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated", o.about("is progressing."))
	case o.timedOut():
		o.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, o.about("has timed out progressing."))
	}
}

func (o *rollout) about(what string) string {
	if o.new == nil {
		return fmt.Sprintf("Deployment %q %s", o.d.Name, what)
	}
	return fmt.Sprintf("ReplicaSet %q %s", o.new.Name, what)
}

func (o *rollout) complete() bool {
	s, wanted := &o.d.Status, ptr.Deref(o.d.Spec.Replicas, 1)
	return s.UpdatedReplicas == wanted && s.Replicas == wanted && s.AvailableReplicas == wanted && s.ObservedGeneration >= o.d.Generation
}

func (o *rollout) moved() bool {
	now, before := &o.d.Status, &o.was.Status
	return now.UpdatedReplicas > before.UpdatedReplicas ||
		now.Replicas-now.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		now.ReadyReplicas > before.ReadyReplicas ||
		now.AvailableReplicas > before.AvailableReplicas
}

func (o *rollout) timedOut() bool {
	c := condition(&o.d.Status, appsv1.DeploymentProgressing)
	if c == nil || c.Reason == reasonAvailable || c.Reason == reasonPaused {
		return false
	}
	return c.Reason == reasonTimedOut || !o.Clock.Now().Before(c.LastUpdateTime.Add(o.deadline()))
}

// deadlineLeft is how long until the deadline has to be looked at; 0: never.
func (o *rollout) deadlineLeft() time.Duration {
	c := condition(&o.d.Status, appsv1.DeploymentProgressing)
	if c == nil || !o.hasDeadline() || o.d.Spec.Paused || c.Reason == reasonAvailable || c.Reason == reasonTimedOut {
		return 0
	}
	// Times in the API have whole seconds, hence the second on top.
	return max(c.LastUpdateTime.Add(o.deadline()).Sub(o.Clock.Now()), 0) + time.Second
}

func (o *rollout) hasDeadline() bool {
	return o.d.Spec.ProgressDeadlineSeconds != nil && *o.d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func (o *rollout) deadline() time.Duration {
	return time.Duration(ptr.Deref(o.d.Spec.ProgressDeadlineSeconds, 0)) * time.Second
}

// pauseConditions keep a pause from counting against the deadline.
func (o *rollout) pauseConditions() {
	if !o.hasDeadline() {
		return
	}
	c := condition(&o.d.Status, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == reasonTimedOut {
		return
	}
	paused := c != nil && c.Reason == reasonPaused
	switch {
	case o.d.Spec.Paused && !paused:
		o.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !o.d.Spec.Paused && paused:
		o.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentResumed", "Deployment is resumed")
	}
}

// replicaFailure shows why a set cannot make its pods; the new set's first.
func (o *rollout) replicaFailure() {
	sets := o.all()
	slices.Reverse(sets)
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				o.setCondition(appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message)
				return
			}
		}
	}
	o.removeCondition(appsv1.DeploymentReplicaFailure)
}

func condition(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition writes a condition unless its status and reason are so already.
func (o *rollout) setCondition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	if c := condition(&o.d.Status, kind); c != nil && c.Status == status && c.Reason == reason {
		return
	}
	o.putCondition(kind, status, reason, message)
}

// putCondition writes it anyway: a sign of life moves the update time although
// status and reason may stay.
func (o *rollout) putCondition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(o.Clock.Now())
	next := appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
	c := condition(&o.d.Status, kind)
	if c == nil {
		o.d.Status.Conditions = append(o.d.Status.Conditions, next)
		return
	}
	if c.Status == status {
		next.LastTransitionTime = c.LastTransitionTime
	}
	*c = next
}

func (o *rollout) removeCondition(kind appsv1.DeploymentConditionType) {
	o.d.Status.Conditions = slices.DeleteFunc(o.d.Status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
}
