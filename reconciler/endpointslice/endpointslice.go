// Package endpointslice shows the pods behind each Service as EndpointSlices.
// It writes the EndpointSlices that carry its managed-by label. What to write
// is computed in plan.go.
package endpointslice

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/endpoint"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "endpointslice-controller"

// Reconciler writes the slices of one Service at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 5, &Reconciler{deps},
		controller.Self(deps.Cache, &corev1.Service{}),
		controller.On(deps.Cache, &corev1.Pod{}, endpoint.Services(deps)),
		controller.On(deps.Cache, &discoveryv1.EndpointSlice{}, owner))
}

// owner brings back what others change or delete.
func owner(_ context.Context, before, after *discoveryv1.EndpointSlice) []reconcile.Request {
	slice := controller.Present(after, before)[0]
	if slice.Labels[discoveryv1.LabelManagedBy] != managedBy || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return nil
	}
	return []reconcile.Request{controller.Named(slice.Namespace, slice.Labels[discoveryv1.LabelServiceName])}
}

// Reconcile does one pass over one Service.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var list discoveryv1.EndpointSliceList
	if err := r.Client.List(ctx, &list, client.InNamespace(req.Namespace), client.MatchingLabels{
		discoveryv1.LabelServiceName: req.Name, discoveryv1.LabelManagedBy: managedBy}); err != nil {
		return reconcile.Result{}, fmt.Errorf("list endpoint slices: %w", err)
	}
	existing := make([]*discoveryv1.EndpointSlice, 0, len(list.Items))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			existing = append(existing, &list.Items[i])
		}
	}
	s := &corev1.Service{}
	err := r.Client.Get(ctx, req.NamespacedName, s)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	if err != nil || s.DeletionTimestamp != nil || s.Spec.Type == corev1.ServiceTypeExternalName {
		return reconcile.Result{}, r.apply(ctx, Plan{Delete: existing})
	}
	if !endpoint.Managed(s) {
		return reconcile.Result{}, nil // somebody else writes its slices
	}
	pods, err := endpoint.Pods(ctx, r.Client, s)
	if err != nil {
		return reconcile.Result{}, err
	}
	zones, err := r.zones(ctx, pods)
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, r.apply(ctx, Compute(s, pods, zones, existing))
}

func (r *Reconciler) zones(ctx context.Context, pods []*corev1.Pod) (map[string]string, error) {
	zones := map[string]string{}
	for _, p := range pods {
		name := p.Spec.NodeName
		if _, known := zones[name]; known || name == "" {
			continue
		}
		node := &corev1.Node{}
		if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, node); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read node %q: %w", name, err)
		}
		zones[name] = node.Labels[corev1.LabelTopologyZone]
	}
	return zones, nil
}

// apply writes updates before creations and those before deletions, so that an
// endpoint that moves is shown twice rather than not at all.
func (r *Reconciler) apply(ctx context.Context, p Plan) error {
	for _, slice := range p.Update {
		if err := r.Client.Update(ctx, slice); err != nil {
			return fmt.Errorf("update endpoint slice %q: %w", slice.Name, err)
		}
	}
	for _, slice := range p.Create {
		if err := r.Client.Create(ctx, slice); err != nil {
			return fmt.Errorf("create endpoint slice: %w", err)
		}
	}
	for _, slice := range p.Delete {
		if err := r.Client.Delete(ctx, slice); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete endpoint slice %q: %w", slice.Name, err)
		}
	}
	return nil
}
