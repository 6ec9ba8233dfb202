// Package tokencleaner deletes the bootstrap tokens in kube-system, with which
// nodes join, when their time is over. Nobody believes them from then on; this
// takes them out of the lists.
package tokencleaner

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "token-cleaner"

// expirationKey has the time in RFC 3339 at which a token is over.
const expirationKey = "expiration"

// Reconciler looks at one token at a time.
type Reconciler struct{ controller.Deps }

// New returns the controller.
func New(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name, deps, 1, &Reconciler{deps},
		controller.On(deps.Cache, &corev1.Secret{}, func(_ context.Context, _, after *corev1.Secret) []reconcile.Request {
			if after == nil || !isToken(after) {
				return nil
			}
			return []reconcile.Request{controller.Request(after)}
		}))
}

func isToken(s *corev1.Secret) bool {
	return s.Type == corev1.SecretTypeBootstrapToken && s.Namespace == metav1.NamespaceSystem && s.DeletionTimestamp == nil
}

// Reconcile deletes the token when its time is over. One without a time that
// can be read stays: it is for people to look at.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	s := &corev1.Secret{}
	if err := r.Client.Get(ctx, req.NamespacedName, s); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	expiry, err := time.Parse(time.RFC3339, string(s.Data[expirationKey]))
	if err != nil || !isToken(s) {
		return reconcile.Result{}, nil
	}
	if left := expiry.Sub(r.Clock.Now()); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	// As it is now: its time may be changed meanwhile.
	err = r.Client.Delete(ctx, s, client.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("delete token %q: %w", s.Name, err)
	}
	return reconcile.Result{}, nil
}
