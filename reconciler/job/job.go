package job

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/bulk"
	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/reconciler/claim"
	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "job-controller"

var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// rounds is how often one pass looks again at what it has done: what it releases
// it counts in the next round.
const rounds = 4

// Request names a Job, or a tracked pod that may have no Job any more.
type Request struct {
	Namespace, Name string
	// Pod says that the name is a pod's.
	Pod bool
}

// Reconciler brings one Job at a time forward.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{deps}
	return controller.New(Name, deps, 5, r,
		controller.On(deps.Cache, &batchv1.Job{}, func(_ context.Context, before, after *batchv1.Job) []Request {
			changed := controller.Present(after, before)[0]
			return []Request{{Namespace: changed.Namespace, Name: changed.Name}}
		}),
		controller.On(deps.Cache, &corev1.Pod{}, r.concerned))
}

// concerned are the Jobs of a changed pod, and the pod itself when it might stay
// for ever because nobody counts it.
func (r *Reconciler) concerned(ctx context.Context, before, after *corev1.Pod) []Request {
	var requests []Request
	for _, p := range controller.Present(before, after) {
		if owner := metav1.GetControllerOf(p); owner != nil && owner.Kind == kind.Kind {
			requests = append(requests, Request{Namespace: p.Namespace, Name: owner.Name})
		}
	}
	if after == nil {
		return requests
	}
	orphan := metav1.GetControllerOf(after) == nil
	if tracked(after) && (orphan || after.DeletionTimestamp != nil) {
		requests = append(requests, Request{Namespace: after.Namespace, Name: after.Name, Pod: true})
	}
	if claim.Orphaned(before, after) {
		jobs, err := r.matching(ctx, r.Cache, after)
		if err != nil {
			r.Logger.Warn("list jobs", "err", err)
		}
		for _, job := range jobs {
			requests = append(requests, Request{Namespace: job.Namespace, Name: job.Name})
		}
	}
	return requests
}

// Reconcile does one pass over one Job or one pod.
func (r *Reconciler) Reconcile(ctx context.Context, req Request) (reconcile.Result, error) {
	if req.Pod {
		return reconcile.Result{}, r.forsaken(ctx, req)
	}
	job := &batchv1.Job{}
	for range rounds {
		if err := r.Client.Get(ctx, types.NamespacedName{Namespace: req.Namespace, Name: req.Name}, job); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		if !ours(job) {
			return reconcile.Result{}, nil
		}
		again, result, err := r.round(ctx, job)
		if err != nil || !again {
			return result, err
		}
	}
	return reconcile.Result{RequeueAfter: 1}, nil
}

// ours tells whether a Job is this controller's to look after.
func ours(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.ManagedBy, batchv1.JobControllerName) == batchv1.JobControllerName
}

// round reads, decides and writes once. It tells whether there is more to do at
// once.
func (r *Reconciler) round(ctx context.Context, job *batchv1.Job) (bool, reconcile.Result, error) {
	pods, err := r.claim(ctx, job)
	if err != nil {
		return false, reconcile.Result{}, err
	}
	if Finished(job) {
		return false, reconcile.Result{}, r.release(ctx, pods)
	}
	plan := Decide(job, pods, r.Clock.Now())
	acted, actErr := r.act(ctx, job, plan)
	if acted {
		if pods, err = r.claim(ctx, job); err != nil {
			return false, reconcile.Result{}, errors.Join(actErr, err)
		}
		plan = Decide(job, pods, r.Clock.Now())
	}
	if err := r.write(ctx, job, plan); err != nil {
		return false, reconcile.Result{}, errors.Join(actErr, err)
	}
	if actErr != nil {
		return false, reconcile.Result{}, actErr
	}
	if err := failpoint.Hit(ctx, "job.release.before"); err != nil {
		return false, reconcile.Result{}, err
	}
	if err := r.release(ctx, plan.Release); err != nil {
		return false, reconcile.Result{}, err
	}
	more := len(plan.Release)+len(plan.Kill)+len(plan.Delete)+len(plan.Create) > 0
	return more, reconcile.Result{RequeueAfter: plan.After}, nil
}

// act deletes and creates. It tells whether anything may have changed.
func (r *Reconciler) act(ctx context.Context, job *batchv1.Job, plan Plan) (bool, error) {
	var errs []error
	for _, p := range plan.Kill {
		errs = append(errs, r.kill(ctx, job, p))
	}
	for _, p := range plan.Delete {
		errs = append(errs, r.delete(ctx, job, p))
	}
	if len(plan.Create) > 0 {
		errs = append(errs, r.create(ctx, job, plan.Create))
	}
	return len(errs) > 0, errors.Join(errs...)
}

// kill deletes a pod that is not to be counted. Its finalizer goes only while it
// is as it was when it was active, so that no success is lost.
func (r *Reconciler) kill(ctx context.Context, job *batchv1.Job, p *corev1.Pod) error {
	if tracked(p) {
		if err := r.untrack(ctx, p, p.ResourceVersion); err != nil {
			return err
		}
	}
	if err := failpoint.Hit(ctx, "job.kill.between"); err != nil {
		return err
	}
	return r.delete(ctx, job, p)
}

func (r *Reconciler) delete(ctx context.Context, job *batchv1.Job, p *corev1.Pod) error {
	err := r.Client.Delete(ctx, p, client.Preconditions{UID: &p.UID})
	if client.IgnoreNotFound(err) != nil {
		r.Events.Eventf(job, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		return fmt.Errorf("delete pod %q: %w", p.Name, err)
	}
	r.Events.Eventf(job, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", p.Name)
	return nil
}

// create fills the slots, the first alone, then twice as many each time.
func (r *Reconciler) create(ctx context.Context, job *batchv1.Job, slots []Slot) error {
	owner := *metav1.NewControllerRef(job, kind)
	return bulk.SlowStart(len(slots), func(from, to int) []error {
		pods := make([]client.Object, 0, to-from)
		for _, slot := range slots[from:to] {
			pods = append(pods, slot.Pod(job, owner))
		}
		stored, errs := r.Bulk().Create(ctx, pods)
		for i, err := range errs {
			switch {
			case err == nil:
				r.Events.Eventf(job, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", stored[i].GetName())
				continue
			case !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
				r.Events.Eventf(job, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
			}
			errs[i] = fmt.Errorf("create pod: %w", err)
		}
		return errs
	})
}

// write stores the plan's status, when it says something new, and tells of it.
func (r *Reconciler) write(ctx context.Context, job *batchv1.Job, plan Plan) error {
	if equality.Semantic.DeepEqual(job.Status, plan.Status) {
		return nil
	}
	if err := failpoint.Hit(ctx, "job.status.before"); err != nil {
		return err
	}
	job.Status = plan.Status
	if err := r.Client.Status().Update(ctx, job); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	for _, e := range plan.Tell {
		r.Events.Event(job, e.Type, e.Reason, e.Message)
	}
	return nil
}
