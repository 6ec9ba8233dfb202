// Package csr approves and signs the certificate requests of nodes, and signs
// those of API clients that a person approved. It writes the approval and the
// certificate of CertificateSigningRequests of those three signers. Whether to
// approve is decided in check.go.
package csr

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controller's, and its service account's in kube-system.
const Name = "certificate-controller"

// keep is how long a settled request stays to be looked at.
const keep = time.Hour

// Signer is the certificate authority. It may be called concurrently.
type Signer interface {
	// Sign makes a certificate for the request's subject, names and key with
	// the given usages by the CA that belongs to the signer, and returns it with
	// its chain as PEM. ttl 0 leaves its life to the CA, which may shorten any.
	Sign(ctx context.Context, signer string, request *x509.CertificateRequest, usages []certificatesv1.KeyUsage, ttl time.Duration) ([]byte, error)
}

// Reconciler settles one request at a time.
type Reconciler struct {
	controller.Deps
	Signer Signer
	// Alive tells whether the servers hear a node; nil: never.
	Alive func(node string) bool
}

// New returns the controller.
func New(deps controller.Deps, signer Signer, alive func(node string) bool) (controller.Runnable, error) {
	r := &Reconciler{deps, signer, alive}
	return controller.New(Name, deps, 2, r,
		controller.Self(deps.Cache, &certificatesv1.CertificateSigningRequest{}),
		controller.On(deps.Cache, &corev1.Node{}, r.registered))
}

// registered asks about the serving certificates that wait for a node to say
// which addresses it has.
func (r *Reconciler) registered(ctx context.Context, before, after *corev1.Node) []reconcile.Request {
	if after == nil || before != nil && equality.Semantic.DeepEqual(before.Status.Addresses, after.Status.Addresses) {
		return nil
	}
	var list certificatesv1.CertificateSigningRequestList
	if err := r.Cache.List(ctx, &list); err != nil {
		r.Logger.Warn("list certificate requests", "err", err)
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if c := &list.Items[i]; c.Spec.Username == nodeUserPrefix+after.Name && len(c.Status.Conditions) == 0 {
			out = append(out, controller.Request(c))
		}
	}
	return out
}

// Reconcile does one pass over one request.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	c := &certificatesv1.CertificateSigningRequest{}
	if err := r.Client.Get(ctx, req.NamespacedName, c); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !signed(c.Spec.SignerName) {
		return reconcile.Result{}, nil
	}
	if len(c.Status.Certificate) > 0 || is(c, certificatesv1.CertificateDenied) || is(c, certificatesv1.CertificateFailed) {
		return r.expire(ctx, c)
	}
	request, err := parse(c)
	if err == nil && !is(c, certificatesv1.CertificateApproved) {
		return reconcile.Result{}, r.approve(ctx, c, request)
	}
	if err == nil {
		err = check(c, request)
	}
	if err != nil {
		r.condition(c, certificatesv1.CertificateFailed, "SignerValidationFailure", err.Error())
		return reconcile.Result{}, r.writeStatus(ctx, c)
	}
	return reconcile.Result{}, r.sign(ctx, c, request)
}

func (r *Reconciler) approve(ctx context.Context, c *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) error {
	var known *corev1.Node
	name := strings.TrimPrefix(request.Subject.CommonName, nodeUserPrefix)
	alive := false
	if name != "" {
		node := &corev1.Node{}
		err := r.Client.Get(ctx, client.ObjectKey{Name: name}, node)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read node %q: %w", name, err)
		}
		if err == nil {
			known, alive = node, r.Alive != nil && r.Alive(name)
		}
	}
	switch err := Approve(c, request, known, alive); {
	case errors.Is(err, errUndecided):
		return nil
	case err != nil:
		r.Logger.Warn("certificate request denied", "request", c.Name, "user", c.Spec.Username, "reason", err)
		r.condition(c, certificatesv1.CertificateDenied, "AutoDenied", err.Error())
	default:
		r.condition(c, certificatesv1.CertificateApproved, "AutoApproved", "The request is a node's for itself.")
	}
	if err := r.Client.SubResource("approval").Update(ctx, c); err != nil {
		return fmt.Errorf("write approval of %q: %w", c.Name, err)
	}
	return nil
}

func (r *Reconciler) sign(ctx context.Context, c *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) error {
	var ttl time.Duration
	if c.Spec.ExpirationSeconds != nil {
		ttl = time.Duration(*c.Spec.ExpirationSeconds) * time.Second
	}
	certificate, err := r.Signer.Sign(ctx, c.Spec.SignerName, request, c.Spec.Usages, ttl)
	if err != nil {
		return fmt.Errorf("sign %q: %w", c.Name, err)
	}
	c.Status.Certificate = certificate
	return r.writeStatus(ctx, c)
}

func (r *Reconciler) writeStatus(ctx context.Context, c *certificatesv1.CertificateSigningRequest) error {
	if err := r.Client.Status().Update(ctx, c); err != nil {
		return fmt.Errorf("write status of %q: %w", c.Name, err)
	}
	return nil
}

// expire deletes a request some time after it was settled.
func (r *Reconciler) expire(ctx context.Context, c *certificatesv1.CertificateSigningRequest) (reconcile.Result, error) {
	if left := c.CreationTimestamp.Add(keep).Sub(r.Clock.Now()); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	return reconcile.Result{}, client.IgnoreNotFound(r.Client.Delete(ctx, c))
}

func is(c *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	for _, condition := range c.Status.Conditions {
		if condition.Type == kind {
			return true
		}
	}
	return false
}

func (r *Reconciler) condition(c *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType, reason, message string) {
	now := metav1.NewTime(r.Clock.Now())
	c.Status.Conditions = append(c.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now})
}
