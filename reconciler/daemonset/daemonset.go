package daemonset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/claim"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/revision"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "daemon-set-controller"

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

const (
	hashLabel       = appsv1.DefaultDaemonSetUniqueLabelKey
	generationLabel = appsv1.DeprecatedTemplateGeneration
	podGeneration   = "pod-template-generation"

	// The wait before the pod of a node that fails is replaced doubles between
	// these.
	firstBackoff = time.Second
	lastBackoff  = 15 * time.Minute
)

// Reconciler brings one DaemonSet at a time nearer to what it asks for.
type Reconciler struct {
	controller.Deps
	failures *flowcontrol.Backoff
}

// NewReconciler returns a reconciler that remembers which nodes' pods fail.
func NewReconciler(deps controller.Deps) *Reconciler {
	backoff := flowcontrol.NewBackOff(firstBackoff, lastBackoff)
	backoff.Clock = deps.Clock
	return &Reconciler{deps, backoff}
}

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := NewReconciler(deps)
	return controller.New(Name, deps, 2, r,
		controller.Self(deps.Cache, &appsv1.DaemonSet{}),
		controller.Owner(deps.Cache, &corev1.Pod{}, kind.Kind),
		controller.On(deps.Cache, &corev1.Pod{}, r.orphan),
		controller.On(deps.Cache, &corev1.Node{}, r.node))
}

// orphan asks the sets that may want a pod without a controller.
func (r *Reconciler) orphan(ctx context.Context, before, pod *corev1.Pod) []reconcile.Request {
	if !claim.Orphaned(before, pod) {
		return nil
	}
	return r.sets(ctx, func(set *appsv1.DaemonSet) bool { return claim.Wants(set.Spec.Selector, pod) }, client.InNamespace(pod.Namespace))
}

// node asks the sets that judge a node differently than before.
func (r *Reconciler) node(ctx context.Context, before, after *corev1.Node) []reconcile.Request {
	if !matters(before, after) {
		return nil
	}
	return r.sets(ctx, func(set *appsv1.DaemonSet) bool {
		judge := NewJudge(set)
		var did, does [2]bool
		if before != nil {
			did[0], did[1] = judge.Of(before)
		}
		if after != nil {
			does[0], does[1] = judge.Of(after)
		}
		return did != does
	})
}

func (r *Reconciler) sets(ctx context.Context, concerns func(*appsv1.DaemonSet) bool, options ...client.ListOption) []reconcile.Request {
	var all appsv1.DaemonSetList
	if err := r.Cache.List(ctx, &all, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		r.Logger.Warn("list daemon sets", "err", err)
		return nil
	}
	var requests []reconcile.Request
	for i := range all.Items {
		if concerns(&all.Items[i]) {
			requests = append(requests, controller.Request(&all.Items[i]))
		}
	}
	return requests
}

// Reconcile does one pass over one set.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	set := &appsv1.DaemonSet{}
	if err := r.Client.Get(ctx, req.NamespacedName, set); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return reconcile.Result{}, nil // validation refuses it; retrying cannot help
	}
	if selector.Empty() {
		r.Events.Event(set, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return reconcile.Result{}, nil
	}
	if set.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	revisions, err := claim.Objects[*appsv1.ControllerRevision](ctx, r.Client, set, kind, selector, &appsv1.ControllerRevisionList{}, nil)
	if err != nil {
		return reconcile.Result{}, err
	}
	pods, err := claim.Objects[*corev1.Pod](ctx, r.Client, set, kind, selector, &corev1.PodList{}, nil, claim.Shared)
	if err != nil {
		return reconcile.Result{}, err
	}
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list nodes: %w", err)
	}
	history, err := revision.Settle(ctx, r.Client, revision.Owner{
		Object: set, Kind: kind, Template: &set.Spec.Template, HashLabel: hashLabel, Collisions: set.Status.CollisionCount,
	}, revisions)
	if err != nil {
		return reconcile.Result{}, err
	}
	state := State{Set: set, Pods: pods, Now: r.Clock.Now(), IsUpdate: updated(history)}
	for i := range nodes.Items {
		state.Nodes = append(state.Nodes, &nodes.Items[i])
	}
	again, failed := r.carryOut(ctx, &state, history.Update.Labels[hashLabel], Next(state))
	next, wait := status(state, history.Collisions)
	if !equality.Semantic.DeepEqual(set.Status, next) {
		set.Status = next
		if err := r.Client.Status().Update(ctx, set); err != nil {
			return reconcile.Result{}, errors.Join(failed, fmt.Errorf("write status: %w", err))
		}
	}
	if failed != nil {
		return reconcile.Result{}, failed
	}
	if wait == 0 || again > 0 && again < wait {
		wait = again
	}
	return reconcile.Result{RequeueAfter: wait}, r.truncate(ctx, set, pods, history)
}

// updated tells of pods whether they have the present template.
func updated(h *revision.History) func(*corev1.Pod) bool {
	hashes := map[string]bool{}
	for _, r := range h.All {
		if h.IsUpdate(r.Name) {
			hashes[r.Labels[hashLabel]] = true
		}
	}
	return func(p *corev1.Pod) bool { return hashes[p.Labels[hashLabel]] }
}

func (r *Reconciler) truncate(ctx context.Context, set *appsv1.DaemonSet, pods []*corev1.Pod, h *revision.History) error {
	return h.Truncate(ctx, r.Client, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)), func(name string) bool {
		hash := h.Named(name).Labels[hashLabel]
		return slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.Labels[hashLabel] == hash })
	})
}

// carryOut does what a plan says and brings the state up to date. It gives how
// long a pod that has failed has to wait for its replacement; 0: none waits.
func (r *Reconciler) carryOut(ctx context.Context, s *State, hash string, plan Plan) (time.Duration, error) {
	gone := slices.Clone(plan.Delete)
	var again time.Duration
	r.failures.GC() // forgets those that have been well for long
	for _, p := range plan.Ended {
		key := fmt.Sprintf("%s/%d/%s", s.Set.UID, s.Set.Generation, nodeOf(p))
		if p.Status.Phase == corev1.PodFailed {
			if r.failures.IsInBackOffSinceUpdate(key, s.Now) {
				if left := r.failures.Get(key); again == 0 || left < again {
					again = left
				}
				continue
			}
			r.failures.Next(key, s.Now)
			r.Events.Eventf(s.Set, corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", p.Namespace, p.Name, p.Spec.NodeName)
		} else {
			r.Events.Eventf(s.Set, corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", p.Namespace, p.Name, p.Spec.NodeName)
		}
		gone = append(gone, p)
	}
	var failed []error
	for _, p := range gone {
		if err := r.remove(ctx, s, p); err != nil {
			failed = append(failed, err)
		}
	}
	made, err := r.create(ctx, s.Set, hash, plan.Create)
	s.Pods = append(slices.Clone(s.Pods), made...)
	return again, errors.Join(append(failed, err)...)
}

// create makes pods for nodes, the first alone, then twice as many each time;
// the first batch with an error is the last.
func (r *Reconciler) create(ctx context.Context, set *appsv1.DaemonSet, hash string, nodes []string) ([]*corev1.Pod, error) {
	var made []*corev1.Pod
	for size := 1; len(nodes) > 0; size *= 2 {
		size = min(size, len(nodes))
		pods, errs := make([]*corev1.Pod, size), make([]error, size)
		var running sync.WaitGroup
		for i, node := range nodes[:size] {
			running.Go(func() { pods[i], errs[i] = r.createOne(ctx, set, hash, node) })
		}
		running.Wait()
		made = append(made, slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p == nil })...)
		if err := errors.Join(errs...); err != nil {
			return made, err
		}
		nodes = nodes[size:]
	}
	return made, nil
}

func (r *Reconciler) createOne(ctx context.Context, set *appsv1.DaemonSet, hash, node string) (*corev1.Pod, error) {
	t := &set.Spec.Template
	pod := &corev1.Pod{ObjectMeta: *t.ObjectMeta.DeepCopy(), Spec: *t.Spec.DeepCopy()}
	pod.Name, pod.GenerateName, pod.Namespace = "", set.Name+"-", set.Namespace
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)}
	metav1.SetMetaDataLabel(&pod.ObjectMeta, hashLabel, hash)
	if generation, ok := set.Annotations[generationLabel]; ok {
		metav1.SetMetaDataLabel(&pod.ObjectMeta, podGeneration, generation)
	}
	pod.Spec.Tolerations, pod.Spec.Affinity = tolerations(&t.Spec), onNode(t.Spec.Affinity, node)
	if err := r.Client.Create(ctx, pod); err != nil {
		r.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		return nil, fmt.Errorf("create pod: %w", err)
	}
	r.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
	return pod, nil
}

// remove deletes a pod and puts into the state what is left of it.
func (r *Reconciler) remove(ctx context.Context, s *State, p *corev1.Pod) error {
	if err := r.Client.Delete(ctx, p, client.Preconditions{UID: &p.UID}); client.IgnoreNotFound(err) != nil {
		r.Events.Eventf(s.Set, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		return fmt.Errorf("delete pod %q: %w", p.Name, err)
	}
	r.Events.Eventf(s.Set, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", p.Name)
	now := &corev1.Pod{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(p), now)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read pod %q: %w", p.Name, err)
	}
	s.Pods = slices.DeleteFunc(slices.Clone(s.Pods), func(o *corev1.Pod) bool { return o == p })
	if err == nil {
		s.Pods = append(s.Pods, now)
	}
	return nil
}
