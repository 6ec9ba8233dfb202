// Package networkpolicy shows the pods that network policies speak of as
// EndpointSlices, a set of slices for each group of package podgroup, so that
// nodes can enforce policies without reading other nodes' pods. It writes the
// EndpointSlices that carry its managed-by label. What to write is computed in
// plan.go.
//
// A group that no policy speaks of has no slices: a cluster without policies
// pays nothing.
package networkpolicy

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/podgroup"
	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "networkpolicy-controller"

// Reconciler writes the slices of one group at a time.
type Reconciler struct {
	controller.Deps
	groups *groups
}

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	r := &Reconciler{deps, newGroups()}
	return controller.New[podgroup.Key](Name, deps, 5, r,
		controller.On(deps.Cache, &networkingv1.NetworkPolicy{}, r.groups.policy),
		controller.On(deps.Cache, &corev1.Pod{}, r.pod),
		controller.On(deps.Cache, &corev1.Namespace{}, r.groups.namespace),
		controller.On(deps.Cache, &discoveryv1.EndpointSlice{}, owner))
}

// owner brings back what others change or delete.
func owner(_ context.Context, before, after *discoveryv1.EndpointSlice) []podgroup.Key {
	slice := controller.Present(after, before)[0]
	if slice.Namespace != podgroup.Namespace || slice.Labels[discoveryv1.LabelManagedBy] != podgroup.ManagedBy {
		return nil
	}
	return []podgroup.Key{podgroup.Key(slice.Labels[podgroup.Label])}
}

// pod asks for the groups that a pod has come into, has left, or shows another
// member in.
func (r *Reconciler) pod(ctx context.Context, before, after *corev1.Pod) []podgroup.Key {
	if before != nil && after != nil && same(before, after) || r.groups.none() {
		return nil
	}
	namespace := &corev1.Namespace{}
	if err := r.Cache.Get(ctx, client.ObjectKey{Name: controller.Present(after, before)[0].Namespace}, namespace); client.IgnoreNotFound(err) != nil {
		r.Logger.Error("namespace of a pod not read", "controller", Name, "err", err)
	}
	return r.groups.of(namespace.Labels, controller.Present(before, after)...)
}

// Reconcile does one pass over one group.
func (r *Reconciler) Reconcile(ctx context.Context, key podgroup.Key) (reconcile.Result, error) {
	var list discoveryv1.EndpointSliceList
	if err := r.Client.List(ctx, &list, client.InNamespace(podgroup.Namespace), client.MatchingLabels{
		podgroup.Label: string(key), discoveryv1.LabelManagedBy: podgroup.ManagedBy}, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list slices of group %s: %w", key, err)
	}
	existing := make([]*discoveryv1.EndpointSlice, 0, len(list.Items))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			existing = append(existing, &list.Items[i])
		}
	}
	group, ok, err := r.find(ctx, key)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !ok {
		return reconcile.Result{}, r.apply(ctx, Plan{Delete: existing})
	}
	pods, err := r.members(ctx, group)
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, r.apply(ctx, Compute(key, pods, existing))
}

// find gives the group of a key. What the watches have not told of yet may
// exist nevertheless: before slices go, the policies themselves are asked.
func (r *Reconciler) find(ctx context.Context, key podgroup.Key) (podgroup.Group, bool, error) {
	if g, ok := r.groups.get(key); ok {
		return g, true, nil
	}
	var policies networkingv1.NetworkPolicyList
	if err := r.Client.List(ctx, &policies, client.UnsafeDisableDeepCopy); err != nil {
		return podgroup.Group{}, false, fmt.Errorf("list network policies: %w", err)
	}
	for i := range policies.Items {
		if g, ok := podgroup.Needed(&policies.Items[i])[key]; ok {
			return g, true, nil
		}
	}
	return podgroup.Group{}, false, nil
}

// members are the group's pods.
func (r *Reconciler) members(ctx context.Context, g podgroup.Group) ([]*corev1.Pod, error) {
	namespaces := []string{g.Namespace}
	if g.Namespace == "" {
		var list corev1.NamespaceList
		if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy, client.MatchingLabelsSelector{Selector: g.Namespaces}); err != nil {
			return nil, fmt.Errorf("list namespaces: %w", err)
		}
		namespaces = nil
		for i := range list.Items {
			namespaces = append(namespaces, list.Items[i].Name)
		}
	}
	var pods []*corev1.Pod
	for _, namespace := range namespaces {
		var list corev1.PodList
		if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy, client.MatchingLabelsSelector{Selector: g.Pods}); err != nil {
			return nil, fmt.Errorf("list pods of %q: %w", namespace, err)
		}
		for i := range list.Items {
			pods = append(pods, &list.Items[i])
		}
	}
	return pods, nil
}

// apply writes updates and creations before deletions, so that a pod that moves
// between slices is a member throughout.
func (r *Reconciler) apply(ctx context.Context, p Plan) error {
	for _, slice := range p.Update {
		if err := r.Client.Update(ctx, slice); err != nil {
			return fmt.Errorf("update slice %q: %w", slice.Name, err)
		}
	}
	for _, slice := range p.Create {
		if err := r.Client.Create(ctx, slice); err != nil {
			return fmt.Errorf("create slice: %w", err)
		}
	}
	for _, slice := range p.Delete {
		if err := r.Client.Delete(ctx, slice); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete slice %q: %w", slice.Name, err)
		}
	}
	return nil
}
