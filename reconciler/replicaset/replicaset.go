package replicaset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/claim"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "replicaset-controller"

// burst is how many pods one pass creates or deletes at most.
const burst = 500

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// Reconciler brings one ReplicaSet at a time to its replicas.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 5, &Reconciler{deps},
		controller.Self(deps.Cache, &appsv1.ReplicaSet{}),
		controller.Owner(deps.Cache, &corev1.Pod{}, "ReplicaSet"),
		controller.On(deps.Cache, &corev1.Pod{}, (&Reconciler{deps}).orphan))
}

// orphan asks the sets that may want a pod without a controller.
func (r *Reconciler) orphan(ctx context.Context, _, pod *corev1.Pod) []reconcile.Request {
	if pod == nil || metav1.GetControllerOf(pod) != nil || len(pod.Labels) == 0 {
		return nil
	}
	var sets appsv1.ReplicaSetList
	if err := r.Cache.List(ctx, &sets, client.InNamespace(pod.Namespace)); err != nil {
		r.Logger.Warn("list replica sets", "err", err)
		return nil
	}
	var requests []reconcile.Request
	for i := range sets.Items {
		selector, err := metav1.LabelSelectorAsSelector(sets.Items[i].Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			requests = append(requests, controller.Request(&sets.Items[i]))
		}
	}
	return requests
}

// Reconcile does one pass over one set.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	rs := &appsv1.ReplicaSet{}
	if err := r.Client.Get(ctx, req.NamespacedName, rs); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return reconcile.Result{}, nil // validation refuses it; retrying cannot help
	}
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.InNamespace(rs.Namespace)); err != nil {
		return reconcile.Result{}, fmt.Errorf("list pods: %w", err)
	}
	pods, err := claim.Objects(ctx, r.Client, rs, kind, selector, pointers(list.Items), podstate.IsActive)
	if err != nil {
		return reconcile.Result{}, err
	}
	var failure *appsv1.ReplicaSetCondition
	var scaleErr error
	if rs.DeletionTimestamp == nil {
		pods, failure, scaleErr = r.scale(ctx, rs, pods, list.Items)
	}
	next, wait := status(rs, pods, failure, r.Clock.Now())
	if !equality.Semantic.DeepEqual(next, rs.Status) {
		rs.Status = next
		if err := r.Client.Status().Update(ctx, rs); err != nil {
			return reconcile.Result{}, errors.Join(scaleErr, fmt.Errorf("write status: %w", err))
		}
	}
	return reconcile.Result{RequeueAfter: wait}, scaleErr
}

// scale creates or deletes towards spec.replicas and returns the pods as they
// are afterwards.
func (r *Reconciler) scale(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod, all []corev1.Pod) ([]*corev1.Pod, *appsv1.ReplicaSetCondition, error) {
	var active []*corev1.Pod
	for _, p := range pods {
		if podstate.IsActive(p) {
			active = append(active, p)
		}
	}
	want := int(ptr.Deref(rs.Spec.Replicas, 1))
	if missing := want - len(active); missing > 0 {
		made, err := r.create(ctx, rs, min(missing, burst))
		return append(pods, made...), failed("FailedCreate", err), err
	}
	surplus := len(active) - want
	if surplus == 0 {
		return pods, nil, nil
	}
	victims := Victims(active, min(surplus, burst), perNode(rs, all), r.Clock.Now())
	gone, err := r.remove(ctx, rs, victims)
	pods = slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return gone[p.UID] })
	return pods, failed("FailedDelete", err), err
}

// perNode counts the active pods of the set and its siblings by node.
func perNode(rs *appsv1.ReplicaSet, all []corev1.Pod) map[string]int {
	prefix := rs.Name
	if owner := metav1.GetControllerOf(rs); owner != nil {
		prefix = owner.Name
	}
	count := map[string]int{}
	for i := range all {
		owner := metav1.GetControllerOf(&all[i])
		if owner == nil || owner.Kind != "ReplicaSet" || !podstate.IsActive(&all[i]) {
			continue
		}
		if owner.Name == rs.Name || strings.HasPrefix(owner.Name, prefix+"-") {
			count[all[i].Spec.NodeName]++
		}
	}
	return count
}

// create makes n pods, the first alone, then twice as many each time; the
// first batch with an error is the last.
func (r *Reconciler) create(ctx context.Context, rs *appsv1.ReplicaSet, n int) ([]*corev1.Pod, error) {
	var made []*corev1.Pod
	for size := 1; n > 0; size *= 2 {
		size = min(size, n)
		pods, errs := make([]*corev1.Pod, size), make([]error, size)
		var running sync.WaitGroup
		for i := range size {
			running.Go(func() { pods[i], errs[i] = r.createOne(ctx, rs) })
		}
		running.Wait()
		for _, p := range pods {
			if p != nil {
				made = append(made, p)
			}
		}
		if err := errors.Join(errs...); err != nil {
			return made, err
		}
		n -= size
	}
	return made, nil
}

func (r *Reconciler) createOne(ctx context.Context, rs *appsv1.ReplicaSet) (*corev1.Pod, error) {
	pod := &corev1.Pod{ObjectMeta: *rs.Spec.Template.ObjectMeta.DeepCopy(), Spec: *rs.Spec.Template.Spec.DeepCopy()}
	pod.Name, pod.GenerateName, pod.Namespace = "", rs.Name+"-", rs.Namespace
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rs, kind)}
	if err := r.Client.Create(ctx, pod); err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil, nil // the set itself is about to go
		}
		r.Events.Eventf(rs, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		return nil, fmt.Errorf("create pod: %w", err)
	}
	r.Events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
	return pod, nil
}

// remove deletes the pods and returns which are gone.
func (r *Reconciler) remove(ctx context.Context, rs *appsv1.ReplicaSet, victims []*corev1.Pod) (map[types.UID]bool, error) {
	gone := map[types.UID]bool{}
	var errs []error
	for _, p := range victims {
		err := r.Client.Delete(ctx, p, client.Preconditions{UID: &p.UID})
		if client.IgnoreNotFound(err) != nil {
			r.Events.Eventf(rs, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
			errs = append(errs, fmt.Errorf("delete pod %q: %w", p.Name, err))
			continue
		}
		gone[p.UID] = true
		r.Events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", p.Name)
	}
	return gone, errors.Join(errs...)
}

func failed(reason string, err error) *appsv1.ReplicaSetCondition {
	if err == nil {
		return nil
	}
	return &appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: reason, Message: err.Error(),
	}
}

func pointers(pods []corev1.Pod) []*corev1.Pod {
	all := make([]*corev1.Pod, len(pods))
	for i := range pods {
		all[i] = &pods[i]
	}
	return all
}
