// Package rootca publishes the API server's CA to every namespace as the
// ConfigMap kube-root-ca.crt, which pods mount with their tokens.
package rootca

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "root-ca-cert-publisher"

// ConfigMap is the published object's name.
const ConfigMap = "kube-root-ca.crt"

// Reconciler looks after one namespace at a time.
type Reconciler struct {
	controller.Deps
	// CA is the PEM text to publish.
	CA string
}

// New returns the controller.
func New(deps controller.Deps, ca string) (controller.Runnable, error) {
	return controller.New(Name, deps, 2, &Reconciler{deps, ca},
		controller.On(deps.Cache, &corev1.Namespace{}, func(_ context.Context, before, n *corev1.Namespace) []reconcile.Request {
			if n == nil || before != nil {
				return nil
			}
			return []reconcile.Request{controller.Named("", n.Name)}
		}),
		controller.On(deps.Cache, &corev1.ConfigMap{}, func(_ context.Context, before, after *corev1.ConfigMap) []reconcile.Request {
			if m := controller.Present(after, before)[0]; m.Name == ConfigMap {
				return []reconcile.Request{controller.Named("", m.Namespace)}
			}
			return nil
		}))
}

// Reconcile brings the ConfigMap to what it must say.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	n := &corev1.Namespace{}
	if err := r.Client.Get(ctx, req.NamespacedName, n); err != nil || n.DeletionTimestamp != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	want := map[string]string{"ca.crt": r.CA}
	have := &corev1.ConfigMap{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: n.Name, Name: ConfigMap}, have)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Client.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: n.Name, Name: ConfigMap, Annotations: map[string]string{
				"kubernetes.io/description": "The certificates that clients inside the cluster trust the API server by. Kept by the cluster; changes are undone."}},
			Data: want,
		})
	case err == nil && !maps.Equal(have.Data, want):
		have.Data = want
		err = r.Client.Update(ctx, have)
	}
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, fmt.Errorf("publish root CA: %w", err)
}
