package cronjob

import (
	"context"
	"fmt"
	"slices"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/reconciler/claim"
	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "cronjob-controller"

// Reconciler looks after one CronJob at a time.
type Reconciler struct {
	controller.Deps

	mu   sync.Mutex // guards told
	told map[types.NamespacedName][]Event
}

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 5, NewReconciler(deps),
		controller.Self(deps.Cache, &batchv1.CronJob{}),
		controller.Owner(deps.Cache, &batchv1.Job{}, kind.Kind))
}

// NewReconciler returns a reconciler that has told nothing yet.
func NewReconciler(deps controller.Deps) *Reconciler {
	return &Reconciler{Deps: deps, told: map[types.NamespacedName][]Event{}}
}

// tell tells what the pass before had not told already.
func (r *Reconciler) tell(cj *batchv1.CronJob, events []Event) {
	key := client.ObjectKeyFromObject(cj)
	r.mu.Lock()
	before := r.told[key]
	r.told[key] = events
	r.mu.Unlock()
	for _, e := range events {
		if !slices.Contains(before, e) {
			r.Events.Event(cj, e.Type, e.Reason, e.Message)
		}
	}
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, key)
}

// Reconcile does one pass over one CronJob.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cj := &batchv1.CronJob{}
	if err := r.Client.Get(ctx, req.NamespacedName, cj); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	jobs, err := claim.Owned[*batchv1.Job](ctx, r.Client, cj, &batchv1.JobList{})
	if err != nil {
		return reconcile.Result{}, err
	}
	plan := Decide(cj, jobs, r.Clock.Now())
	r.tell(cj, plan.Tell)
	for _, j := range slices.Concat(plan.Prune, plan.Replace) {
		if err := r.delete(ctx, cj, j, &plan); err != nil {
			return reconcile.Result{}, err
		}
	}
	if plan.Create != nil {
		if err := r.create(ctx, cj, &plan); err != nil {
			return reconcile.Result{}, err
		}
		if err := failpoint.Hit(ctx, "cronjob.status.before"); err != nil {
			return reconcile.Result{}, err
		}
	}
	if !equality.Semantic.DeepEqual(cj.Status, plan.Status) {
		cj.Status = plan.Status
		if err := r.Client.Status().Update(ctx, cj); err != nil {
			return reconcile.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	return reconcile.Result{RequeueAfter: plan.After}, nil
}

func (r *Reconciler) delete(ctx context.Context, cj *batchv1.CronJob, j *batchv1.Job, plan *Plan) error {
	err := r.Client.Delete(ctx, j, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &j.UID})
	if client.IgnoreNotFound(err) != nil {
		r.Events.Eventf(cj, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return fmt.Errorf("delete job %q: %w", j.Name, err)
	}
	r.Events.Eventf(cj, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", j.Name)
	plan.Status.Active = slices.DeleteFunc(plan.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == j.UID })
	return nil
}

// create makes the planned Job. One that is there already was made by a pass
// that could not write it down.
func (r *Reconciler) create(ctx context.Context, cj *batchv1.CronJob, plan *Plan) error {
	j := plan.Create
	err := r.Client.Create(ctx, j)
	if apierrors.IsAlreadyExists(err) {
		there := &batchv1.Job{}
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(j), there); err != nil {
			return fmt.Errorf("get job %q: %w", j.Name, err)
		}
		if owner := metav1.GetControllerOf(there); owner == nil || owner.UID != cj.UID {
			r.Events.Eventf(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
			return fmt.Errorf("create job: %w", err)
		}
		plan.Status.LastScheduleTime = &metav1.Time{Time: plan.At}
		return nil // Status has it among the active ones unless it is over
	}
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			r.Events.Eventf(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		}
		return fmt.Errorf("create job: %w", err)
	}
	r.Events.Eventf(cj, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", j.Name)
	plan.Status.Active = append(plan.Status.Active, reference(j))
	plan.Status.LastScheduleTime = &metav1.Time{Time: plan.At}
	return nil
}
