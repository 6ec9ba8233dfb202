package resourcequota

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/quota"
	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "resourcequota-controller"

// pause is between two counts of one quota whose limits have not changed.
const pause = 10 * time.Second

// Reconciler counts for one quota at a time.
type Reconciler struct {
	controller.Deps

	mu      sync.Mutex // guards counted
	counted map[types.NamespacedName]time.Time
}

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{Deps: deps}
	return controller.New(Name, deps, 2, r,
		controller.Self(deps.Cache, &corev1.ResourceQuota{}),
		controller.On(deps.Cache, &corev1.Pod{}, r.terminating))
}

// terminating asks the quotas of a pod whose deletion begins: there is a time
// from which it no longer counts.
func (r *Reconciler) terminating(ctx context.Context, before, after *corev1.Pod) []reconcile.Request {
	if after == nil || after.DeletionTimestamp == nil || before != nil && before.DeletionTimestamp.Equal(after.DeletionTimestamp) {
		return nil
	}
	var list corev1.ResourceQuotaList
	if err := r.Cache.List(ctx, &list, client.InNamespace(after.Namespace)); err != nil {
		r.Logger.Warn("list quotas", "err", err)
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		requests = append(requests, controller.Request(&list.Items[i]))
	}
	return requests
}

// Reconcile counts for one quota, unless that has just been done.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	q := &corev1.ResourceQuota{}
	if err := r.Client.Get(ctx, req.NamespacedName, q); err != nil {
		r.remember(req.NamespacedName, time.Time{})
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if q.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	now := r.Clock.Now()
	if wait := pause - now.Sub(r.last(req.NamespacedName)); quota.Current(q) && wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	// The quota was read first: an object that is written meanwhile changes the
	// quota too, and the status below is refused as a conflict.
	objects := map[schema.GroupResource][]client.Object{}
	for _, resource := range quota.Resources(q) {
		list, err := r.list(ctx, resource, q.Namespace)
		if err != nil {
			return reconcile.Result{}, err
		}
		objects[resource] = list
	}
	status := quota.Count(q, func(resource schema.GroupResource) iter.Seq[runtime.Object] {
		return func(yield func(runtime.Object) bool) {
			for _, o := range objects[resource] {
				if !yield(o) {
					return
				}
			}
		}
	}, now)
	if !equality.Semantic.DeepEqual(status, q.Status) {
		q.Status = status
		if err := r.Client.Status().Update(ctx, q); err != nil {
			return reconcile.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	r.remember(req.NamespacedName, now)
	return reconcile.Result{RequeueAfter: release(objects[corev1.Resource("pods")], now)}, nil
}

// list reads the objects of a resource; a resource that the API does not have,
// such as one whose definition is still to come, has none.
func (r *Reconciler) list(ctx context.Context, resource schema.GroupResource, namespace string) ([]client.Object, error) {
	kind, err := r.Client.RESTMapper().KindFor(resource.WithVersion(""))
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the kind of %s: %w", resource, err)
	}
	objects, err := controller.Objects(ctx, r.Client, kind, namespace)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", resource, err)
	}
	return objects, nil
}

// release is how long it takes until the next terminating pod stops to count;
// 0 when there is none.
func release(pods []client.Object, now time.Time) time.Duration {
	var waits []time.Duration
	for _, o := range pods {
		if terminating, at := quota.Released(o.(*corev1.Pod)); terminating && !now.After(at) {
			waits = append(waits, max(at.Sub(now)+time.Second, pause)) // Running wants the time to be past
		}
	}
	if len(waits) == 0 {
		return 0
	}
	return slices.Min(waits)
}

func (r *Reconciler) last(name types.NamespacedName) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counted[name]
}

func (r *Reconciler) remember(name types.NamespacedName, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at.IsZero() {
		delete(r.counted, name)
		return
	}
	if r.counted == nil {
		r.counted = map[types.NamespacedName]time.Time{}
	}
	r.counted[name] = at
}
