package storageprotection

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/reconciler/controller"
)

// Names of the controllers, and of their service accounts in kube-system.
const (
	ClaimsName  = "pvc-protection-controller"
	VolumesName = "pv-protection-controller"
)

// Finalizers of what is in use.
const (
	ClaimFinalizer  = "kubernetes.io/pvc-protection"
	VolumeFinalizer = "kubernetes.io/pv-protection"
)

// NewClaims returns the controller of claims.
func NewClaims(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(ClaimsName, deps, 2, &Claims{deps},
		controller.Self(deps.Cache, &corev1.PersistentVolumeClaim{}),
		controller.On(deps.Cache, &corev1.Pod{}, func(_ context.Context, before, after *corev1.Pod) []reconcile.Request {
			if before == nil || after != nil && after.DeletionTimestamp == nil {
				return nil // only a pod that goes makes a difference
			}
			var requests []reconcile.Request
			for _, name := range claimsOf(before) {
				requests = append(requests, controller.Named(before.Namespace, name))
			}
			return requests
		}))
}

// Claims reconciles one claim at a time.
type Claims struct{ controller.Deps }

// Reconcile protects a claim, or releases it.
func (r *Claims) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := r.Client.Get(ctx, req.NamespacedName, claim); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	return reconcile.Result{}, protect(ctx, r.Client, claim, ClaimFinalizer, func() (bool, error) { return r.used(ctx, claim) })
}

// used tells whether a pod on a node has the claim. A pod that is on none yet
// does not count: nodes start no pod whose claim is being deleted.
func (r *Claims) used(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(claim.Namespace)); err != nil {
		return false, fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		if pods.Items[i].Spec.NodeName == "" {
			continue
		}
		for _, name := range claimsOf(&pods.Items[i]) {
			if name == claim.Name {
				return true, nil
			}
		}
	}
	return false, nil
}

// claimsOf are the names of the claims that a pod's volumes are of, those made
// for the pod itself included.
func claimsOf(pod *corev1.Pod) []string {
	var names []string
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil && !shutDown(pod):
			names = append(names, pod.Name+"-"+v.Name)
		}
	}
	return names
}

// shutDown tells whether a deleted pod has stopped: the claims made for it are
// then only waited for by itself.
func shutDown(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0
}

// NewVolumes returns the controller of volumes.
func NewVolumes(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(VolumesName, deps, 2, &Volumes{deps}, controller.Self(deps.Cache, &corev1.PersistentVolume{}))
}

// Volumes reconciles one volume at a time.
type Volumes struct{ controller.Deps }

// Reconcile protects a volume, or releases it.
func (r *Volumes) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	volume := &corev1.PersistentVolume{}
	if err := r.Client.Get(ctx, req.NamespacedName, volume); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	return reconcile.Result{}, protect(ctx, r.Client, volume, VolumeFinalizer, func() (bool, error) {
		return volume.Status.Phase == corev1.VolumeBound, nil
	})
}

// protect puts the finalizer on an object that is to stay, and takes it off one
// that is to go and not used. Updates compare what was read.
func protect(ctx context.Context, c client.Client, o client.Object, finalizer string, used func() (bool, error)) error {
	if o.GetDeletionTimestamp() == nil {
		if !controllerutil.AddFinalizer(o, finalizer) {
			return nil
		}
		return verb("protect", o, c.Update(ctx, o))
	}
	if !controllerutil.ContainsFinalizer(o, finalizer) {
		return nil
	}
	if holds, err := used(); err != nil || holds {
		return err
	}
	controllerutil.RemoveFinalizer(o, finalizer)
	return verb("release", o, client.IgnoreNotFound(c.Update(ctx, o)))
}

func verb(doing string, o client.Object, err error) error {
	if err != nil {
		return fmt.Errorf("%s %q: %w", doing, o.GetName(), err)
	}
	return nil
}
