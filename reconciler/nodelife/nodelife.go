// Package nodelife draws the consequences of a node's state: a node that
// nobody hears is Unknown, nodes in a bad state are tainted, their pods are
// taken out of the endpoints at once and evicted when their tolerations end.
// It writes the conditions of lost nodes, the taints named
// node.kubernetes.io/…, the Ready condition of pods on lost nodes, and deletes
// evicted pods. What to write is computed in plan.go.
package nodelife

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/podstate"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "node-controller"

// Grace is how long a node may be unheard of after this controller first asked
// about it: its agent may just be looking for a server.
const Grace = 10 * time.Second

// Liveness knows which nodes the servers hear. Implementations are safe for
// concurrent use and do not block.
type Liveness interface {
	// Alive tells whether the node is heard. known is false when no server has
	// anything to say about it, as after a start.
	Alive(node string) (alive, known bool)
	// Changes gives the name of each node whose answer has changed. One reader.
	Changes() <-chan string
}

// Reconciler looks after one node at a time.
type Reconciler struct {
	controller.Deps
	Life Liveness
	// Started is when the controller began to listen.
	Started time.Time

	pace   *pace
	leases *leases
}

// NewReconciler returns a reconciler that begins to listen now.
func NewReconciler(deps controller.Deps, life Liveness, eviction Eviction) *Reconciler {
	return &Reconciler{deps, life, deps.Clock.Now(), newPace(eviction), newLeases()}
}

// New returns the controller. Without a Liveness no node is ever found lost;
// taints and evictions still follow the conditions.
func New(deps controller.Deps, life Liveness, eviction Eviction) (controller.Runnable, error) {
	r := NewReconciler(deps, life, eviction)
	return controller.New(Name, deps, 4, r,
		controller.On(deps.Cache, &coordinationv1.Lease{}, r.leases.renewed),
		controller.Self(deps.Cache, &corev1.Node{}),
		controller.On(deps.Cache, &corev1.Pod{}, podPlaced),
		changes(life))
}

// podPlaced asks about the node of a pod that is new on it: it may be tainted.
func podPlaced(_ context.Context, before, after *corev1.Pod) []reconcile.Request {
	if after == nil || after.Spec.NodeName == "" || before != nil && before.Spec.NodeName != "" && podstate.IsReady(before) == podstate.IsReady(after) {
		return nil
	}
	return []reconcile.Request{controller.Named("", after.Spec.NodeName)}
}

func changes(life Liveness) source.Source {
	return source.Func(func(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		if life == nil {
			return nil
		}
		go func() { // ends with ctx, which is the controller's
			for {
				select {
				case <-ctx.Done():
					return
				case name := <-life.Changes():
					q.Add(controller.Named("", name))
				}
			}
		}()
		return nil
	})
}

// Reconcile does one pass over one node.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	n := &corev1.Node{}
	if err := r.Client.Get(ctx, req.NamespacedName, n); err != nil {
		r.leases.forget(req.Name)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	now := r.Clock.Now()
	lost, again, err := r.lost(ctx, n, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	if lost {
		if err := r.lose(ctx, n, now); err != nil {
			return reconcile.Result{}, err
		}
	}
	evicts := Keep
	if ready := condition(n, corev1.NodeReady); ready == nil || ready.Status != corev1.ConditionTrue {
		var later time.Duration
		if evicts, later, err = r.pace.may(ctx, r.Client, n, now); err != nil {
			return reconcile.Result{}, err
		}
		if again == 0 || later < again {
			again = later
		}
	}
	if taints := Taints(n, evicts, now); !equality.Semantic.DeepEqual(taints, n.Spec.Taints) {
		base := n.DeepCopy()
		n.Spec.Taints = taints
		if err := r.Client.Patch(ctx, n, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
			return reconcile.Result{}, fmt.Errorf("taint node %q: %w", n.Name, err)
		}
	}
	next, err := r.pods(ctx, n, lost, now)
	if next == 0 || again > 0 && again < next {
		next = again
	}
	return reconcile.Result{RequeueAfter: next}, err
}

// lost tells whether the node is to be treated as lost, and otherwise when to
// look again.
func (r *Reconciler) lost(ctx context.Context, n *corev1.Node, now time.Time) (bool, time.Duration, error) {
	if r.Life == nil {
		return false, 0, nil
	}
	alive, known := r.Life.Alive(n.Name)
	if known {
		return !alive, 0, nil
	}
	if left, ok, err := r.leases.left(ctx, r.Client, n.Name, now); ok || err != nil {
		return left == 0 && err == nil, left, err
	}
	since := r.Started
	if n.CreationTimestamp.After(since) {
		since = n.CreationTimestamp.Time
	}
	left := since.Add(Grace).Sub(now)
	return left <= 0, max(left, 0), nil
}

func (r *Reconciler) lose(ctx context.Context, n *corev1.Node, now time.Time) error {
	ready := condition(n, corev1.NodeReady)
	wasReady := ready != nil && ready.Status == corev1.ConditionTrue
	if !Lose(n, now) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, n); err != nil {
		return fmt.Errorf("write conditions of node %q: %w", n.Name, err)
	}
	if wasReady {
		r.Events.Eventf(n, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", n.Name)
	}
	return nil
}

// pods takes the pods of a node in a bad state out of the endpoints and evicts
// those whose time is over; it returns when the next one's is.
func (r *Reconciler) pods(ctx context.Context, n *corev1.Node, lost bool, now time.Time) (time.Duration, error) {
	var next time.Duration
	if !lost && !hasNoExecute(n.Spec.Taints) {
		return 0, nil
	}
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.MatchingFields{"spec.nodeName": n.Name}); err != nil {
		return 0, fmt.Errorf("list pods of node %q: %w", n.Name, err)
	}
	for i := range list.Items {
		p := &list.Items[i]
		if lost && podstate.IsReady(p) {
			if err := r.notReady(ctx, p, now); err != nil {
				return 0, err
			}
		}
		at, ever := EvictAt(p, n.Spec.Taints)
		if !ever || p.DeletionTimestamp != nil || podstate.IsTerminal(p) {
			continue
		}
		left := at.Sub(now)
		if left <= 0 {
			if err := r.evict(ctx, p, now); err != nil {
				return 0, err
			}
		} else if next == 0 || left < next {
			next = left
		}
	}
	return next, nil
}

func hasNoExecute(taints []corev1.Taint) bool {
	for _, t := range taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			return true
		}
	}
	return false
}

func (r *Reconciler) notReady(ctx context.Context, p *corev1.Pod, now time.Time) error {
	base := p.DeepCopy()
	c := podstate.Condition(p, corev1.PodReady)
	c.Status, c.Reason, c.LastTransitionTime = corev1.ConditionFalse, "NodeNotReady", metav1.NewTime(now)
	if err := r.Client.Status().Patch(ctx, p, client.StrategicMergeFrom(base)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("mark pod %s/%s not ready: %w", p.Namespace, p.Name, err)
	}
	r.Events.Event(p, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	return nil
}

func (r *Reconciler) evict(ctx context.Context, p *corev1.Pod, now time.Time) error {
	r.Events.Eventf(p, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", p.Namespace, p.Name)
	base := p.DeepCopy()
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
		Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(now)})
	if podstate.Condition(base, corev1.DisruptionTarget) == nil {
		if err := r.Client.Status().Patch(ctx, p, client.StrategicMergeFrom(base)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("mark pod %s/%s for eviction: %w", p.Namespace, p.Name, err)
		}
	}
	if err := r.Client.Delete(ctx, p, client.Preconditions{UID: &p.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("evict pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
