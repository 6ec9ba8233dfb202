package disruption

import (
	"context"
	"errors"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "disruption-controller"

// Request names a budget, or a pod that is said to be disrupted.
type Request struct {
	Namespace, Name string
	// Pod says that the name is a pod's.
	Pod bool
}

// Reconciler computes one budget's status at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{deps}
	return controller.New(Name, deps, 2, r,
		controller.On(deps.Cache, &policyv1.PodDisruptionBudget{}, func(_ context.Context, before, after *policyv1.PodDisruptionBudget) []Request {
			changed := controller.Present(after, before)[0]
			return []Request{{Namespace: changed.Namespace, Name: changed.Name}}
		}),
		controller.On(deps.Cache, &corev1.Pod{}, r.concerned),
		onScale(r, &appsv1.Deployment{}, func(o *appsv1.Deployment) (*int32, labels.Set) { return o.Spec.Replicas, o.Spec.Template.Labels }),
		onScale(r, &appsv1.StatefulSet{}, func(o *appsv1.StatefulSet) (*int32, labels.Set) { return o.Spec.Replicas, o.Spec.Template.Labels }),
		onScale(r, &appsv1.ReplicaSet{}, func(o *appsv1.ReplicaSet) (*int32, labels.Set) { return o.Spec.Replicas, o.Spec.Template.Labels }),
	)
}

// concerned are the budgets of a pod, as it was and as it is, and the pod itself
// when it may be waiting for a disruption that does not come.
func (r *Reconciler) concerned(ctx context.Context, before, after *corev1.Pod) []Request {
	var requests []Request
	if after != nil {
		if old, left := stale(after, r.Clock.Now()); old || left > 0 {
			requests = append(requests, Request{after.Namespace, after.Name, true})
		}
	}
	if before != nil && after != nil && maps.Equal(before.Labels, after.Labels) && podstate.IsReady(before) == podstate.IsReady(after) &&
		podstate.IsActive(before) == podstate.IsActive(after) && equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences) {
		return requests
	}
	for _, p := range controller.Present(before, after) {
		requests = append(requests, r.budgetsOf(ctx, p.Namespace, p.Labels)...)
	}
	return requests
}

// budgetsOf are the budgets that select what has some labels.
func (r *Reconciler) budgetsOf(ctx context.Context, namespace string, of labels.Set) []Request {
	var list policyv1.PodDisruptionBudgetList
	if err := r.Cache.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		r.Logger.Warn("list disruption budgets", "err", err)
		return nil
	}
	var requests []Request
	for i := range list.Items {
		selector, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err == nil && selector.Matches(of) {
			requests = append(requests, Request{Namespace: namespace, Name: list.Items[i].Name})
		}
	}
	return requests
}

// Reconcile does one pass over one budget or one pod.
func (r *Reconciler) Reconcile(ctx context.Context, req Request) (reconcile.Result, error) {
	key := types.NamespacedName{Namespace: req.Namespace, Name: req.Name}
	if req.Pod {
		return r.takeBack(ctx, key)
	}
	b := &policyv1.PodDisruptionBudget{}
	if err := r.Client.Get(ctx, key, b); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	seen, err := r.look(ctx, b)
	now := r.Clock.Now()
	var status policyv1.PodDisruptionBudgetStatus
	var result reconcile.Result
	if err == nil {
		var late []*corev1.Pod
		status, result.RequeueAfter, late, err = Decide(b, seen, now)
		for _, p := range late {
			r.Events.Eventf(p, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", b.Namespace, b.Name)
		}
	}
	if err != nil {
		r.Events.Eventf(b, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
		status = failSafe(b, err, now)
	}
	r.tell(b, seen)
	if equality.Semantic.DeepEqual(b.Status, status) {
		return result, err
	}
	b.Status = status
	if writeErr := r.Client.Status().Update(ctx, b); writeErr != nil {
		return reconcile.Result{}, errors.Join(err, fmt.Errorf("write status: %w", writeErr))
	}
	return result, err
}

// tell says what about a budget cannot be meant so.
func (r *Reconciler) tell(b *policyv1.PodDisruptionBudget, seen Seen) {
	if len(seen.Pods) == 0 && b.Status.ObservedGeneration != b.Generation {
		r.Events.Event(b, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	if seen.Unmanaged > 0 {
		r.Events.Eventf(b, corev1.EventTypeWarning, "UnmanagedPods",
			"Pods selected by this PodDisruptionBudget (selector: %v) were found to be unmanaged: how many there should be is not known. Set spec.minAvailable to a number to count them",
			metav1.FormatLabelSelector(b.Spec.Selector))
	}
}

// look reads the budget's pods and, if they matter, their controllers' scales.
func (r *Reconciler) look(ctx context.Context, b *policyv1.PodDisruptionBudget) (Seen, error) {
	var seen Seen
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return seen, err
	}
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.InNamespace(b.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return seen, fmt.Errorf("list pods: %w", err)
	}
	asked := map[types.UID]bool{}
	counted := map[types.UID]bool{}
	for i := range list.Items {
		p := &list.Items[i]
		if podstate.IsTerminal(p) {
			continue
		}
		seen.Pods = append(seen.Pods, p)
		if !NeedsScale(b) {
			continue
		}
		owner := metav1.GetControllerOf(p)
		if owner == nil {
			seen.Unmanaged++
			continue
		}
		if asked[owner.UID] {
			continue
		}
		asked[owner.UID] = true
		scale, err := r.scale(ctx, b.Namespace, owner)
		if err != nil {
			return seen, fmt.Errorf("found no scale for the controller of pod %q: %w", p.Name, err)
		}
		if scale != nil && !counted[scale.UID] {
			counted[scale.UID] = true
			seen.Scales = append(seen.Scales, *scale)
		}
	}
	return seen, nil
}

// scale asks a controller how many pods it is to have, the Deployment for its
// ReplicaSets; nil when it has gone.
func (r *Reconciler) scale(ctx context.Context, namespace string, owner *metav1.OwnerReference) (*Scale, error) {
	kind := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind)
	if kind == appsv1.SchemeGroupVersion.WithKind("ReplicaSet") {
		rs := &appsv1.ReplicaSet{}
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: owner.Name}, rs)
		if err != nil || rs.UID != owner.UID {
			return nil, client.IgnoreNotFound(err)
		}
		if above := metav1.GetControllerOf(rs); above != nil && above.Kind == "Deployment" {
			return r.scale(ctx, namespace, above)
		}
	}
	o := controller.NewObject(r.Client, kind)
	o.SetNamespace(namespace)
	o.SetName(owner.Name)
	answer := &autoscalingv1.Scale{}
	if err := r.Client.SubResource("scale").Get(ctx, o, answer); err != nil {
		if gone(err, owner.Name) {
			return nil, nil
		}
		return nil, err
	}
	if answer.UID != owner.UID {
		return nil, nil
	}
	return &Scale{answer.UID, answer.Spec.Replicas}, nil
}

// gone tells an object that is not there from a kind that has no scale.
func gone(err error, name string) bool {
	status := apierrors.APIStatus(nil)
	return apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Name == name
}

// takeBack ends the condition of a pod that was to be disrupted and is not.
func (r *Reconciler) takeBack(ctx context.Context, key types.NamespacedName) (reconcile.Result, error) {
	p := &corev1.Pod{}
	if err := r.Client.Get(ctx, key, p); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	old, left := stale(p, r.Clock.Now())
	if !old {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	base := p.DeepCopy()
	c := podstate.Condition(p, corev1.DisruptionTarget)
	c.Status, c.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(r.Clock.Now())
	if err := r.Client.Status().Patch(ctx, p, client.StrategicMergeFrom(base, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("take back the disruption of pod %q: %w", p.Name, err)
	}
	return reconcile.Result{}, nil
}
