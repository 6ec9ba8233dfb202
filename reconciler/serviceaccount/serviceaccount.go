// Package serviceaccount keeps the ServiceAccount "default" in every namespace.
package serviceaccount

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "service-account-controller"

const account = "default"

// Reconciler looks after one namespace at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 2, &Reconciler{deps},
		controller.On(deps.Cache, &corev1.Namespace{}, func(_ context.Context, _, n *corev1.Namespace) []reconcile.Request {
			if n == nil {
				return nil
			}
			return []reconcile.Request{controller.Named("", n.Name)}
		}),
		controller.On(deps.Cache, &corev1.ServiceAccount{}, func(_ context.Context, before, after *corev1.ServiceAccount) []reconcile.Request {
			if after != nil || before.Name != account {
				return nil
			}
			return []reconcile.Request{controller.Named("", before.Namespace)}
		}))
}

// Reconcile makes the account where it is missing.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	n := &corev1.Namespace{}
	if err := r.Client.Get(ctx, req.NamespacedName, n); err != nil || n.DeletionTimestamp != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	have := &corev1.ServiceAccount{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: n.Name, Name: account}, have)
	if !apierrors.IsNotFound(err) {
		return reconcile.Result{}, err
	}
	err = r.Client.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: n.Name, Name: account}})
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, fmt.Errorf("create service account: %w", err)
}
