// Package endpointslicemirroring shows Endpoints that people write themselves,
// for Services without a selector, as EndpointSlices: what proxies read. It
// writes the EndpointSlices that carry its managed-by label. What to write is
// computed in plan.go.
package endpointslicemirroring

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "endpointslicemirroring-controller"

// Reconciler writes the slices of one Endpoints object at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 5, &Reconciler{deps},
		controller.Self(deps.Cache, &corev1.Endpoints{}),
		controller.On(deps.Cache, &corev1.Service{}, service),
		controller.On(deps.Cache, &discoveryv1.EndpointSlice{}, owner))
}

// service looks again when a Service comes, goes, or gets or loses its selector.
func service(_ context.Context, before, after *corev1.Service) []reconcile.Request {
	if before != nil && after != nil && (before.Spec.Selector == nil) == (after.Spec.Selector == nil) {
		return nil
	}
	return []reconcile.Request{controller.Request(controller.Present(after, before)[0])}
}

// owner brings back what others change or delete.
func owner(_ context.Context, before, after *discoveryv1.EndpointSlice) []reconcile.Request {
	slice := controller.Present(after, before)[0]
	if slice.Labels[discoveryv1.LabelManagedBy] != managedBy || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return nil
	}
	return []reconcile.Request{controller.Named(slice.Namespace, slice.Labels[discoveryv1.LabelServiceName])}
}

// Reconcile does one pass over one Endpoints object.
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
	wanted, err := r.wanted(ctx, req)
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, r.apply(ctx, Compute(wanted, existing))
}

// wanted is the Endpoints object if it is to be mirrored, else nil.
func (r *Reconciler) wanted(ctx context.Context, req reconcile.Request) (*corev1.Endpoints, error) {
	e, s := &corev1.Endpoints{}, &corev1.Service{}
	for _, o := range []client.Object{e, s} {
		if err := r.Client.Get(ctx, req.NamespacedName, o); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		if o.GetDeletionTimestamp() != nil {
			return nil, nil
		}
	}
	if !mirrored(e) || s.Spec.Selector != nil {
		return nil, nil
	}
	return e, nil
}

// apply writes updates and creations before deletions, so that an endpoint that
// moves is shown twice rather than not at all.
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
