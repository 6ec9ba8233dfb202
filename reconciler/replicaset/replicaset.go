package replicaset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/bulk"
	"github.com/headway-sh/headway/reconciler/claim"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// burst is how many pods one pass creates or deletes at most.
const burst = 500

// Reconciler brings one set at a time to its replicas.
type Reconciler struct {
	controller.Deps
	// Kind says what the sets are.
	Kind Kind
}

// New returns the controller of ReplicaSets.
func New(deps controller.Deps) (controller.Runnable, error) { return Sets.New(deps) }

// New returns the controller of a kind of sets.
func (k Kind) New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{deps, k}
	return controller.New(k.Name, deps, 5, r,
		controller.Self(deps.Cache, k.Empty()),
		controller.Owner(deps.Cache, &corev1.Pod{}, k.GVK.Kind),
		controller.On(deps.Cache, &corev1.Pod{}, r.orphan))
}

// orphan asks the sets that may want a pod without a controller.
func (r *Reconciler) orphan(ctx context.Context, before, pod *corev1.Pod) []reconcile.Request {
	if !claim.Orphaned(before, pod) {
		return nil
	}
	sets, err := r.Kind.List(ctx, r.Cache, pod.Namespace)
	if err != nil {
		r.Logger.Warn("list sets", "kind", r.Kind.GVK.Kind, "err", err)
		return nil
	}
	var requests []reconcile.Request
	for _, rs := range sets {
		if claim.Wants(rs.Spec.Selector, pod) {
			requests = append(requests, controller.Request(rs))
		}
	}
	return requests
}

// set is one set on its way through a pass: what it asks for as a ReplicaSet,
// and the object itself, which events and the status belong to.
type set struct {
	*appsv1.ReplicaSet
	self client.Object
}

// Reconcile does one pass over one set.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	self := r.Kind.Empty()
	if err := r.Client.Get(ctx, req.NamespacedName, self); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	rs := set{r.Kind.Set(self), self}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return reconcile.Result{}, nil // validation refuses it; retrying cannot help
	}
	pods, err := claim.Objects(ctx, r.Client, self, r.Kind.GVK, selector, &corev1.PodList{}, podstate.IsActive, claim.Shared)
	if err != nil {
		return reconcile.Result{}, err
	}
	var failure *appsv1.ReplicaSetCondition
	var scaleErr error
	if rs.DeletionTimestamp == nil {
		pods, failure, scaleErr = r.scale(ctx, rs, pods)
	}
	next, wait := status(rs.ReplicaSet, pods, failure, r.Clock.Now())
	if r.Kind.SetStatus(self, next) {
		if err := r.Client.Status().Update(ctx, self); err != nil {
			return reconcile.Result{}, errors.Join(scaleErr, fmt.Errorf("write status: %w", err))
		}
	}
	return reconcile.Result{RequeueAfter: wait}, scaleErr
}

// scale creates or deletes towards spec.replicas and returns the pods as they
// are afterwards.
func (r *Reconciler) scale(ctx context.Context, rs set, pods []*corev1.Pod) ([]*corev1.Pod, *appsv1.ReplicaSetCondition, error) {
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
	perNode, err := r.perNode(ctx, rs, active, surplus)
	if err != nil {
		return pods, nil, err
	}
	victims := Victims(active, min(surplus, burst), perNode, r.Clock.Now())
	gone, err := r.remove(ctx, rs, victims)
	pods = slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return gone[p.UID] })
	return pods, failed("FailedDelete", err), err
}

// perNode counts the active pods of the set and its siblings by node. Nobody
// asks when all of the set's are to go.
func (r *Reconciler) perNode(ctx context.Context, rs set, active []*corev1.Pod, surplus int) (map[string]int, error) {
	count := map[string]int{}
	if surplus >= len(active) {
		return count, nil
	}
	for _, p := range active {
		count[p.Spec.NodeName]++
	}
	siblings, err := r.siblings(ctx, rs)
	if err != nil {
		return nil, err
	}
	for _, s := range siblings {
		pods, err := claim.Owned[*corev1.Pod](ctx, r.Client, s, &corev1.PodList{}, claim.Shared)
		if err != nil {
			return nil, err
		}
		for _, p := range pods {
			if podstate.IsActive(p) {
				count[p.Spec.NodeName]++
			}
		}
	}
	return count, nil
}

// siblings are the other sets of the same controller.
func (r *Reconciler) siblings(ctx context.Context, rs set) ([]*appsv1.ReplicaSet, error) {
	owner := metav1.GetControllerOf(rs)
	if owner == nil || r.Kind.GVK.Kind != Sets.GVK.Kind {
		return nil, nil // controllers of ReplicationControllers are not ours to know
	}
	parent := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: rs.Namespace, UID: owner.UID}}
	sets, err := claim.Owned[*appsv1.ReplicaSet](ctx, r.Client, parent, &appsv1.ReplicaSetList{})
	return slices.DeleteFunc(sets, func(s *appsv1.ReplicaSet) bool { return s.UID == rs.UID }), err
}

// create makes n pods, the first alone, then twice as many each time.
func (r *Reconciler) create(ctx context.Context, rs set, n int) ([]*corev1.Pod, error) {
	var made []*corev1.Pod
	pod := &corev1.Pod{ObjectMeta: *rs.Spec.Template.ObjectMeta.DeepCopy(), Spec: *rs.Spec.Template.Spec.DeepCopy()}
	pod.Name, pod.GenerateName, pod.Namespace = "", rs.Name+"-", rs.Namespace
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rs, r.Kind.GVK)}
	err := bulk.SlowStart(n, func(from, to int) []error {
		stored, errs := r.Bulk().Create(ctx, slices.Repeat([]client.Object{pod}, to-from))
		for i, o := range stored {
			if errs[i] = r.tell(rs, o, errs[i]); o != nil {
				made = append(made, o.(*corev1.Pod))
			}
		}
		return errs
	})
	return made, err
}

// tell has everybody know what became of a pod that was to be made.
func (r *Reconciler) tell(rs set, pod client.Object, err error) error {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // the set itself is about to go
	case err != nil:
		r.Events.Eventf(rs.self, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		return fmt.Errorf("create pod: %w", err)
	}
	r.Events.Eventf(rs.self, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.GetName())
	return nil
}

// remove deletes the pods and returns which are gone.
func (r *Reconciler) remove(ctx context.Context, rs set, victims []*corev1.Pod) (map[types.UID]bool, error) {
	gone := map[types.UID]bool{}
	var errs []error
	for _, p := range victims {
		err := r.Client.Delete(ctx, p, client.Preconditions{UID: &p.UID})
		if client.IgnoreNotFound(err) != nil {
			r.Events.Eventf(rs.self, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
			errs = append(errs, fmt.Errorf("delete pod %q: %w", p.Name, err))
			continue
		}
		gone[p.UID] = true
		r.Events.Eventf(rs.self, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", p.Name)
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

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}
