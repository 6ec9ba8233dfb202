// Package bootstrap keeps the namespaces that every cluster has.
package bootstrap

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "bootstrap-controller"

// namespaces that are never missing for long.
var namespaces = []string{corev1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}

// Reconciler makes one namespace at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 1, &Reconciler{deps},
		source.Source(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			for _, n := range namespaces {
				q.Add(controller.Named("", n))
			}
			return nil
		})),
		controller.On(deps.Cache, &corev1.Namespace{}, func(_ context.Context, before, after *corev1.Namespace) []reconcile.Request {
			if after != nil || !slices.Contains(namespaces, before.Name) {
				return nil
			}
			return []reconcile.Request{controller.Named("", before.Name)}
		}))
}

// Reconcile makes the namespace if it is not there.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	err := r.Client.Get(ctx, req.NamespacedName, &corev1.Namespace{})
	if !apierrors.IsNotFound(err) {
		return reconcile.Result{}, err
	}
	err = r.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: req.Name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return reconcile.Result{}, fmt.Errorf("create namespace %q: %w", req.Name, err)
	}
	return reconcile.Result{}, nil
}
