package statefulset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/claim"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
	"github.com/headway-sh/headway/reconciler/revision"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "statefulset-controller"

var (
	kind    = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	podKind = corev1.SchemeGroupVersion.WithKind("Pod")
)

// hashLabel has the hash of a revision's data.
const hashLabel = "controller.kubernetes.io/hash"

// Reconciler brings one StatefulSet at a time nearer to what it asks for.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{deps}
	return controller.New(Name, deps, 5, r,
		controller.Self(deps.Cache, &appsv1.StatefulSet{}),
		controller.Owner(deps.Cache, &corev1.Pod{}, kind.Kind),
		controller.On(deps.Cache, &corev1.Pod{}, r.orphan),
		controller.On(deps.Cache, &corev1.PersistentVolumeClaim{}, claimGone))
}

// orphan asks the sets that may want a pod without a controller.
func (r *Reconciler) orphan(ctx context.Context, before, pod *corev1.Pod) []reconcile.Request {
	if !claim.Orphaned(before, pod) {
		return nil
	}
	var all appsv1.StatefulSetList
	if err := r.Cache.List(ctx, &all, client.InNamespace(pod.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		r.Logger.Warn("list stateful sets", "err", err)
		return nil
	}
	var requests []reconcile.Request
	for i := range all.Items {
		if set := &all.Items[i]; Ordinal(set, pod.Name) >= 0 && claim.Wants(set.Spec.Selector, pod) {
			requests = append(requests, controller.Request(set))
		}
	}
	return requests
}

// claimGone asks the set whose pod may wait for a former claim to go. A claim
// does not name its set, so everything is asked that its name can end in.
func claimGone(_ context.Context, before, after *corev1.PersistentVolumeClaim) []reconcile.Request {
	if after != nil || before == nil {
		return nil
	}
	end := strings.LastIndexByte(before.Name, '-')
	if end < 0 {
		return nil
	}
	name, ok := before.Name[:end], false
	var requests []reconcile.Request
	for {
		if _, name, ok = strings.Cut(name, "-"); !ok {
			return requests
		}
		requests = append(requests, controller.Named(before.Namespace, name))
	}
}

// Reconcile does one pass over one set.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	set := &appsv1.StatefulSet{}
	if err := r.Client.Get(ctx, req.NamespacedName, set); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil || selector.Empty() {
		return reconcile.Result{}, nil // validation refuses it; retrying cannot help
	}
	revisions, err := claim.Objects[*appsv1.ControllerRevision](ctx, r.Client, set, kind, selector, &appsv1.ControllerRevisionList{}, nil)
	if err != nil {
		return reconcile.Result{}, err
	}
	pods, err := claim.Objects(ctx, r.Client, set, kind, selector, &corev1.PodList{}, func(p *corev1.Pod) bool { return Ordinal(set, p.Name) >= 0 }, claim.Shared)
	if err != nil {
		return reconcile.Result{}, err
	}
	history, err := r.history(ctx, set, revisions)
	if err != nil {
		return reconcile.Result{}, err
	}
	state := State{Set: set, Pods: pods, Current: set.Status.CurrentRevision, Update: history.Update.Name, IsUpdate: history.IsUpdate, Now: r.Clock.Now()}
	if history.Named(state.Current) == nil {
		state.Current = state.Update // new, or the history was deleted by hand
	}
	failed := r.carryOut(ctx, &state, history, Next(state))
	next, wait := status(state, history.Collisions)
	if !equality.Semantic.DeepEqual(set.Status, next) {
		set.Status = next
		if err := r.Client.Status().Update(ctx, set); err != nil {
			return reconcile.Result{}, errors.Join(failed, fmt.Errorf("write status: %w", err))
		}
	}
	if errors.Is(failed, errClaimGoing) {
		return reconcile.Result{RequeueAfter: wait}, nil // the claim's end asks again
	}
	if failed != nil {
		return reconcile.Result{}, failed
	}
	return reconcile.Result{RequeueAfter: wait}, r.truncate(ctx, set, state, history)
}

// history settles the revisions; a set that is being deleted makes none.
func (r *Reconciler) history(ctx context.Context, set *appsv1.StatefulSet, revisions []*appsv1.ControllerRevision) (*revision.History, error) {
	if set.DeletionTimestamp != nil {
		if h := revision.Known(revisions, set.Status.UpdateRevision); h != nil {
			return h, nil
		}
	}
	return revision.Settle(ctx, r.Client, revision.Owner{
		Object: set, Kind: kind, Template: &set.Spec.Template, HashLabel: hashLabel, Collisions: set.Status.CollisionCount,
	}, revisions)
}

func (r *Reconciler) truncate(ctx context.Context, set *appsv1.StatefulSet, s State, h *revision.History) error {
	limit := int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10))
	if limit < 0 || set.DeletionTimestamp != nil {
		return nil // all of them are kept
	}
	return h.Truncate(ctx, r.Client, limit, func(name string) bool {
		return name == s.Current || slices.ContainsFunc(s.Pods, func(p *corev1.Pod) bool { return p.Labels[revisionLabel] == name })
	})
}

// carryOut does what a plan says, and brings the state up to date.
func (r *Reconciler) carryOut(ctx context.Context, s *State, h *revision.History, plan Plan) error {
	for _, p := range plan.Repair {
		if err := r.repair(ctx, s.Set, p); err != nil {
			return err
		}
	}
	if s.Set.DeletionTimestamp == nil {
		for _, p := range s.Pods {
			if err := r.tendClaims(ctx, s.Set, p); err != nil {
				return err
			}
		}
	}
	var failed []error
	for _, c := range plan.Create {
		pod, err := r.create(ctx, s.Set, h, c)
		if err != nil {
			failed = append(failed, err)
			break // the next one would fail alike, and cost as much
		}
		s.Pods = append(s.Pods, pod)
	}
	for _, p := range plan.Delete {
		gone, err := r.remove(ctx, s.Set, p)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if i := slices.Index(s.Pods, p); gone == nil {
			s.Pods = slices.Delete(slices.Clone(s.Pods), i, i+1)
		} else {
			s.Pods[i] = gone
		}
	}
	return errors.Join(failed...)
}

// tendClaims makes what a waiting pod's claims lack, and has all claims owned
// as the policy says.
func (r *Reconciler) tendClaims(ctx context.Context, set *appsv1.StatefulSet, p *corev1.Pod) error {
	if len(set.Spec.VolumeClaimTemplates) == 0 || Ordinal(set, p.Name) < 0 {
		return nil
	}
	if err := r.ownClaims(ctx, set, p); err != nil {
		return err
	}
	if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodPending || !inRange(set, Ordinal(set, p.Name)) {
		return nil
	}
	if err := r.ensureClaims(ctx, set, Ordinal(set, p.Name)); err != nil && !errors.Is(err, errClaimGoing) {
		return err
	}
	return nil
}

func (r *Reconciler) repair(ctx context.Context, set *appsv1.StatefulSet, p *corev1.Pod) error {
	base := p.DeepCopy()
	p.Labels = identity(set, p.Labels, Ordinal(set, p.Name))
	if err := r.Client.Patch(ctx, p, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("repair pod %q: %w", p.Name, err)
	}
	return nil
}

func (r *Reconciler) create(ctx context.Context, set *appsv1.StatefulSet, h *revision.History, c Creation) (*corev1.Pod, error) {
	if err := r.ensureClaims(ctx, set, c.Ordinal); err != nil {
		return nil, err
	}
	template := &set.Spec.Template
	if !h.IsUpdate(c.Revision) {
		var err error
		if template, err = revision.Template(h.Named(c.Revision)); err != nil {
			return nil, err
		}
	}
	pod := newPod(set, template, c.Revision, c.Ordinal)
	if err := r.Client.Create(ctx, pod); err != nil {
		r.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "create Pod %s in StatefulSet %s failed error: %v", pod.Name, set.Name, err)
		return nil, fmt.Errorf("create pod %q: %w", pod.Name, err)
	}
	r.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "create Pod %s in StatefulSet %s successful", pod.Name, set.Name)
	return pod, r.ownClaims(ctx, set, pod)
}

// remove deletes a pod and gives it as it is then; nil when it is gone.
func (r *Reconciler) remove(ctx context.Context, set *appsv1.StatefulSet, p *corev1.Pod) (*corev1.Pod, error) {
	switch {
	case p.Status.Phase == corev1.PodFailed:
		r.Events.Eventf(set, corev1.EventTypeWarning, "RecreatingFailedPod", "StatefulSet %s/%s is recreating failed Pod %s", set.Namespace, set.Name, p.Name)
	case podstate.IsTerminal(p):
		r.Events.Eventf(set, corev1.EventTypeNormal, "RecreatingTerminatedPod", "StatefulSet %s/%s is recreating terminated Pod %s", set.Namespace, set.Name, p.Name)
	}
	if err := r.Client.Delete(ctx, p, client.Preconditions{UID: &p.UID}); client.IgnoreNotFound(err) != nil {
		r.Events.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "delete Pod %s in StatefulSet %s failed error: %v", p.Name, set.Name, err)
		return nil, fmt.Errorf("delete pod %q: %w", p.Name, err)
	}
	r.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "delete Pod %s in StatefulSet %s successful", p.Name, set.Name)
	now := &corev1.Pod{}
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(p), now); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return now, nil
}
