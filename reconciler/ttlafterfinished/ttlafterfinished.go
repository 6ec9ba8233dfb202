// Package ttlafterfinished deletes Jobs that have been finished for as long as
// their spec.ttlSecondsAfterFinished says, with all that they own.
package ttlafterfinished

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "ttl-after-finished-controller"

// Reconciler looks at one Job at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 1, &Reconciler{deps},
		controller.On(deps.Cache, &batchv1.Job{}, func(_ context.Context, _, after *batchv1.Job) []reconcile.Request {
			if after == nil || after.DeletionTimestamp != nil {
				return nil
			}
			if _, finite := Expiry(after); !finite {
				return nil
			}
			return []reconcile.Request{controller.Request(after)}
		}))
}

// Expiry is when a Job is to be deleted; false: not that it is known.
func Expiry(job *batchv1.Job) (time.Time, bool) {
	if job.Spec.TTLSecondsAfterFinished == nil {
		return time.Time{}, false
	}
	for _, c := range job.Status.Conditions {
		over := c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed
		if over && c.Status == corev1.ConditionTrue && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second), true
		}
	}
	return time.Time{}, false
}

// Reconcile deletes the Job when its time is over.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	job := &batchv1.Job{}
	if err := r.Client.Get(ctx, req.NamespacedName, job); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	expiry, finite := Expiry(job)
	if !finite || job.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	if left := expiry.Sub(r.Clock.Now()); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	// As it is now: its time may be changed meanwhile.
	err := r.Client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground),
		client.Preconditions{UID: &job.UID, ResourceVersion: &job.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("delete job %q: %w", job.Name, err)
	}
	return reconcile.Result{}, nil
}
