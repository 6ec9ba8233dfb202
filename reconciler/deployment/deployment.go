package deployment

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/claim"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "deployment-controller"

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// Reconciler brings one Deployment at a time nearer to its template.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{deps}
	return controller.New(Name, deps, 5, r,
		controller.Self(deps.Cache, &appsv1.Deployment{}),
		controller.Owner(deps.Cache, &appsv1.ReplicaSet{}, "Deployment"),
		controller.On(deps.Cache, &appsv1.ReplicaSet{}, r.orphan),
		controller.On(deps.Cache, &corev1.Pod{}, r.podGone))
}

// orphan asks the Deployments that may want a set without a controller.
func (r *Reconciler) orphan(ctx context.Context, before, rs *appsv1.ReplicaSet) []reconcile.Request {
	if !claim.Orphaned(before, rs) {
		return nil
	}
	var all appsv1.DeploymentList
	if err := r.Cache.List(ctx, &all, client.InNamespace(rs.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		r.Logger.Warn("list deployments", "err", err)
		return nil
	}
	var requests []reconcile.Request
	for i := range all.Items {
		if claim.Wants(all.Items[i].Spec.Selector, rs) {
			requests = append(requests, controller.Request(&all.Items[i]))
		}
	}
	return requests
}

// podGone wakes a Deployment that waits for old pods to go (Recreate).
func (r *Reconciler) podGone(ctx context.Context, before, after *corev1.Pod) []reconcile.Request {
	if after != nil && !podstate.IsTerminal(after) || before == nil {
		return nil
	}
	owner := metav1.GetControllerOf(before)
	if owner == nil || owner.Kind != "ReplicaSet" {
		return nil
	}
	rs := &appsv1.ReplicaSet{}
	if err := r.Cache.Get(ctx, types.NamespacedName{Namespace: before.Namespace, Name: owner.Name}, rs); err != nil {
		return nil // the set has gone: nobody waits for its pods
	}
	if up := metav1.GetControllerOf(rs); up != nil && up.Kind == kind.Kind {
		return []reconcile.Request{controller.Named(rs.Namespace, up.Name)}
	}
	return nil
}

// rollout is one pass over one Deployment.
type rollout struct {
	*Reconciler
	d   *appsv1.Deployment
	was *appsv1.Deployment   // as it was read
	new *appsv1.ReplicaSet   // nil while it does not exist
	old []*appsv1.ReplicaSet // without new, oldest first
}

// Reconcile does one pass over one Deployment.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	d := &appsv1.Deployment{}
	if err := r.Client.Get(ctx, req.NamespacedName, d); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() {
		return reconcile.Result{}, nil // validation refuses it; retrying cannot help
	}
	sets, err := claim.Objects[*appsv1.ReplicaSet](ctx, r.Client, d, kind, selector, &appsv1.ReplicaSetList{}, nil)
	if err != nil {
		return reconcile.Result{}, err
	}
	o := &rollout{Reconciler: r, d: d, was: d.DeepCopy()}
	o.sort(sets)
	if err := o.run(ctx); err != nil {
		return reconcile.Result{}, err
	}
	return o.writeStatus(ctx)
}

// sort finds the set of the current template: the oldest, if there are several.
func (o *rollout) sort(sets []*appsv1.ReplicaSet) {
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, rs := range sets {
		if o.new == nil && sameTemplate(&rs.Spec.Template, &o.d.Spec.Template) {
			o.new = rs
			continue
		}
		o.old = append(o.old, rs)
	}
}

func (o *rollout) run(ctx context.Context) error {
	if o.d.DeletionTimestamp != nil {
		return nil // only the status is kept
	}
	o.pauseConditions()
	if o.d.Spec.Paused || o.resized() {
		if o.new != nil {
			if err := o.syncNew(ctx); err != nil {
				return err
			}
		}
		if err := o.resize(ctx); err != nil || !o.d.Spec.Paused {
			return err
		}
		return o.trimHistory(ctx)
	}
	if o.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return o.recreate(ctx)
	}
	return o.rolling(ctx)
}

func (o *rollout) rolling(ctx context.Context) error {
	if err := o.ensureNew(ctx); err != nil {
		return err
	}
	l := LimitsOf(o.d)
	if err := o.scale(ctx, o.new, GrowNew(l, replicas(o.new), o.occupied())); err != nil {
		return err
	}
	for i, n := range ShrinkOld(l, set(o.new), mapSets(o.old)) {
		if err := o.scale(ctx, o.old[i], n); err != nil {
			return err
		}
	}
	return o.trimWhenComplete(ctx)
}

func (o *rollout) recreate(ctx context.Context) error {
	for _, rs := range o.old {
		if err := o.scale(ctx, rs, 0); err != nil {
			return err
		}
	}
	running, err := o.oldPodsRun(ctx)
	if err != nil || running {
		return err
	}
	if err := o.ensureNew(ctx); err != nil {
		return err
	}
	if err := o.scale(ctx, o.new, ptr.Deref(o.d.Spec.Replicas, 1)); err != nil {
		return err
	}
	return o.trimWhenComplete(ctx)
}

// oldPodsRun tells whether a pod of an old set has not ended yet.
func (o *rollout) oldPodsRun(ctx context.Context) (bool, error) {
	for _, rs := range o.old {
		pods, err := claim.Owned[*corev1.Pod](ctx, o.Client, rs, &corev1.PodList{}, claim.Shared)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !podstate.IsTerminal(p) }) {
			return true, nil
		}
	}
	return false, nil
}

// resized tells whether spec.replicas has changed since the active sets were
// last scaled.
func (o *rollout) resized() bool {
	return slices.ContainsFunc(o.active(), func(rs *appsv1.ReplicaSet) bool {
		desired, ok := annotated(rs, desiredAnnotation)
		return ok && desired != ptr.Deref(o.d.Spec.Replicas, 1)
	})
}

// resize brings the active sets to a changed spec.replicas without rolling.
func (o *rollout) resize(ctx context.Context) error {
	wanted := ptr.Deref(o.d.Spec.Replicas, 1)
	active := o.active()
	switch {
	case len(active) == 0 && o.new != nil:
		return o.scale(ctx, o.new, wanted)
	case len(active) == 0 && len(o.old) > 0:
		return o.scale(ctx, o.old[len(o.old)-1], wanted)
	case len(active) == 0:
		return nil
	case len(active) == 1:
		return o.scale(ctx, active[0], wanted)
	}
	if o.saturated() {
		for _, rs := range o.old {
			if err := o.scale(ctx, rs, 0); err != nil {
				return err
			}
		}
		return nil
	}
	if o.d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return nil
	}
	for i, n := range Proportional(LimitsOf(o.d), mapSets(active)) {
		if err := o.scale(ctx, active[i], n); err != nil {
			return err
		}
	}
	return nil
}

// saturated tells whether the new set alone serves the Deployment.
func (o *rollout) saturated() bool {
	wanted := ptr.Deref(o.d.Spec.Replicas, 1)
	if o.new == nil || replicas(o.new) != wanted || o.new.Status.AvailableReplicas != wanted {
		return false
	}
	desired, ok := annotated(o.new, desiredAnnotation)
	return ok && desired == wanted
}

// scale writes a set's size and what it was decided from, if that differs.
func (o *rollout) scale(ctx context.Context, rs *appsv1.ReplicaSet, n int32) error {
	before := replicas(rs)
	rs.Spec.Replicas = ptr.To(n)
	changed := o.annotateSize(rs) && (n > 0 || before != n)
	if before == n && !changed {
		return nil
	}
	if err := o.Client.Update(ctx, rs); err != nil {
		return fmt.Errorf("scale replica set %q: %w", rs.Name, err)
	}
	if before != n {
		direction := "up"
		if n < before {
			direction = "down"
		}
		o.Events.Eventf(o.d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", direction, rs.Name, before, n)
	}
	return nil
}

func (o *rollout) all() []*appsv1.ReplicaSet {
	if o.new == nil {
		return o.old
	}
	return append(slices.Clone(o.old), o.new)
}

func (o *rollout) active() []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(o.all()), func(rs *appsv1.ReplicaSet) bool { return replicas(rs) == 0 })
}

func (o *rollout) total() int32 {
	var n int32
	for _, rs := range o.all() {
		n += replicas(rs)
	}
	return n
}

// occupied is how many pods there may be: a set that was made smaller still has
// those that its status counts.
func (o *rollout) occupied() int32 {
	var n int32
	for _, rs := range o.all() {
		n += max(replicas(rs), rs.Status.Replicas)
	}
	return n
}

func replicas(rs *appsv1.ReplicaSet) int32 { return ptr.Deref(rs.Spec.Replicas, 1) }

func set(rs *appsv1.ReplicaSet) Set {
	whole, _ := annotated(rs, maxAnnotation)
	return Set{Name: rs.Name, Created: rs.CreationTimestamp.Time, Replicas: replicas(rs), Available: rs.Status.AvailableReplicas, Max: whole}
}

func mapSets(sets []*appsv1.ReplicaSet) []Set {
	out := make([]Set, len(sets))
	for i, rs := range sets {
		out[i] = set(rs)
	}
	return out
}

func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}
