// Package podgc deletes pods that nobody else will: those of nodes that no
// longer exist, those that were deleted before they had a node, and the oldest
// ended ones when there are too many.
package podgc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "pod-garbage-collector"

const (
	// DefaultTerminated is how many ended pods may stay.
	DefaultTerminated = 12500
	// Quarantine is how long a node must be gone before its pods go.
	Quarantine = 40 * time.Second
	// between is the least time between two counts of ended pods.
	between = 20 * time.Second
)

// What a request is about. The name of a pod or node follows where it has one.
const (
	aboutPod   = "pod"
	aboutNode  = "node"
	aboutEnded = "ended"
)

// Request is what to look at.
type Request struct{ About, Namespace, Name string }

// Reconciler looks at one node or pod at a time, or at all ended pods.
type Reconciler struct {
	controller.Deps
	// Terminated is how many ended pods may stay.
	Terminated int

	counted time.Time            // by the one worker only
	absent  map[string]time.Time // nodes that pods name: since when they are missing
}

// New returns the controller. One worker owns its memory.
func New(deps controller.Deps, terminated int) (controller.Runnable, error) {
	return controller.New(Name, deps, 1, NewReconciler(deps, terminated),
		controller.On(deps.Cache, &corev1.Pod{}, pod),
		controller.On(deps.Cache, &corev1.Node{}, func(_ context.Context, before, after *corev1.Node) []Request {
			if after != nil {
				return nil
			}
			return []Request{{About: aboutNode, Name: before.Name}}
		}))
}

// NewReconciler returns a reconciler; terminated 0 means DefaultTerminated.
func NewReconciler(deps controller.Deps, terminated int) *Reconciler {
	if terminated == 0 {
		terminated = DefaultTerminated
	}
	return &Reconciler{Deps: deps, Terminated: terminated, absent: map[string]time.Time{}}
}

func pod(_ context.Context, before, after *corev1.Pod) []Request {
	var out []Request
	if after == nil {
		return nil
	}
	if after.Spec.NodeName == "" && after.DeletionTimestamp != nil {
		out = append(out, Request{aboutPod, after.Namespace, after.Name})
	}
	if after.Spec.NodeName != "" && (before == nil || before.Spec.NodeName == "") {
		out = append(out, Request{About: aboutNode, Name: after.Spec.NodeName})
	}
	if podstate.IsTerminal(after) && (before == nil || !podstate.IsTerminal(before)) {
		out = append(out, Request{About: aboutEnded})
	}
	return out
}

// Reconcile does what the request asks.
func (r *Reconciler) Reconcile(ctx context.Context, req Request) (reconcile.Result, error) {
	switch req.About {
	case aboutNode:
		return r.node(ctx, req.Name)
	case aboutEnded:
		return r.ended(ctx)
	}
	p := &corev1.Pod{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: req.Namespace, Name: req.Name}, p); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if p.Spec.NodeName != "" || p.DeletionTimestamp == nil {
		return reconcile.Result{}, nil
	}
	// Whoever holds it by a finalizer waits for its end, which no agent will tell.
	if err := r.end(ctx, p, nil); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, r.delete(ctx, p)
}

// node deletes the pods of a node that has been gone for long enough.
func (r *Reconciler) node(ctx context.Context, name string) (reconcile.Result, error) {
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &corev1.Node{})
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	if err == nil {
		delete(r.absent, name)
		return reconcile.Result{}, nil
	}
	now := r.Clock.Now()
	since, ok := r.absent[name]
	if !ok {
		since = now
		r.absent[name] = now
	}
	if left := since.Add(Quarantine).Sub(now); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.MatchingFields{"spec.nodeName": name}); err != nil {
		return reconcile.Result{}, fmt.Errorf("list pods of node %q: %w", name, err)
	}
	for i := range list.Items {
		if err := r.fail(ctx, &list.Items[i], now); err != nil {
			return reconcile.Result{}, err
		}
		if err := r.delete(ctx, &list.Items[i]); err != nil {
			return reconcile.Result{}, err
		}
	}
	delete(r.absent, name)
	return reconcile.Result{}, nil
}

// fail lets whoever watches the pod see that it did not end well.
func (r *Reconciler) fail(ctx context.Context, p *corev1.Pod, now time.Time) error {
	return r.end(ctx, p, &corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC",
		Message: "PodGC: node no longer exists", LastTransitionTime: metav1.NewTime(now)})
}

// end makes a pod that has not ended a failed one, for a reason if there is one.
func (r *Reconciler) end(ctx context.Context, p *corev1.Pod, why *corev1.PodCondition) error {
	if podstate.IsTerminal(p) {
		return nil
	}
	base := p.DeepCopy()
	p.Status.Phase = corev1.PodFailed
	if why != nil && podstate.Condition(p, corev1.DisruptionTarget) == nil {
		p.Status.Conditions = append(p.Status.Conditions, *why)
	}
	if err := r.Client.Status().Patch(ctx, p, client.StrategicMergeFrom(base)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("fail pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

// ended deletes the oldest ended pods beyond the limit.
func (r *Reconciler) ended(ctx context.Context) (reconcile.Result, error) {
	now := r.Clock.Now()
	if left := r.counted.Add(between).Sub(now); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	r.counted = now
	var list corev1.PodList
	if err := r.Client.List(ctx, &list); err != nil {
		return reconcile.Result{}, fmt.Errorf("list pods: %w", err)
	}
	ended := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !podstate.IsTerminal(&p) })
	slices.SortFunc(ended, func(a, b corev1.Pod) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i := range max(len(ended)-r.Terminated, 0) {
		if err := r.delete(ctx, &ended[i]); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{}, nil
}

func (r *Reconciler) delete(ctx context.Context, p *corev1.Pod) error {
	err := r.Client.Delete(ctx, p, client.GracePeriodSeconds(0), client.Preconditions{UID: &p.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
