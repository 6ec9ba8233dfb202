package localpath

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headway-sh/headway/internal/localvolume"
	"github.com/headway-sh/headway/reconciler/controller"
)

// Name is the controllers', and their service account's in kube-system.
const Name = "local-path-provisioner"

// NewClaims returns the controller that makes volumes.
func NewClaims(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name+"-claims", deps, 2, &Claims{deps}, controller.Self(deps.Cache, &corev1.PersistentVolumeClaim{}))
}

// Claims makes the volume of one claim at a time.
type Claims struct{ controller.Deps }

// Reconcile makes the claim's volume if it waits for one.
func (r *Claims) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := r.Client.Get(ctx, req.NamespacedName, claim); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if claim.Annotations[volumehelpers.AnnStorageProvisioner] != localvolume.Provisioner || claim.Spec.VolumeName != "" ||
		claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil {
		return reconcile.Result{}, nil
	}
	class := &storagev1.StorageClass{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: *claim.Spec.StorageClassName}, class); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	node := &corev1.Node{}
	if name := claim.Annotations[volumehelpers.AnnSelectedNode]; name != "" {
		err := r.Client.Get(ctx, client.ObjectKey{Name: name}, node)
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, r.chooseAgain(ctx, claim, name)
		}
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("get node %q: %w", name, err)
		}
	}
	volume, err := Volume(claim, class, node)
	if err != nil {
		r.Events.Eventf(claim, corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: %v", class.Name, err)
		return reconcile.Result{}, nil // another try is worth it when the claim changes
	}
	err = r.Client.Create(ctx, volume)
	if apierrors.IsAlreadyExists(err) {
		return reconcile.Result{}, nil // the claim is being bound
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("make volume %q: %w", volume.Name, err)
	}
	r.Events.Eventf(claim, corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s", volume.Name)
	return reconcile.Result{}, nil
}

// chooseAgain gives a claim back to the scheduler: the chosen node has gone.
func (r *Claims) chooseAgain(ctx context.Context, claim *corev1.PersistentVolumeClaim, node string) error {
	r.Events.Eventf(claim, corev1.EventTypeWarning, "ProvisioningFailed", "node %q is not there any more", node)
	claim = claim.DeepCopy()
	delete(claim.Annotations, volumehelpers.AnnSelectedNode)
	if err := r.Client.Update(ctx, claim); err != nil {
		return fmt.Errorf("release claim %q from its node: %w", claim.Name, err)
	}
	return nil
}

// Volume is the volume for a claim on a node, or why there can be none. Its
// name follows from the claim's UID, so that it is made once.
func Volume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node *corev1.Node) (*corev1.PersistentVolume, error) {
	host := node.Labels[corev1.LabelHostname]
	switch {
	case node.Name == "":
		return nil, errors.New("a volume of one node's disk needs a node: the class has to have volumeBindingMode WaitForFirstConsumer")
	case host == "":
		return nil, fmt.Errorf("node %q has no label %s", node.Name, corev1.LabelHostname)
	case claim.Spec.Selector != nil:
		return nil, errors.New("a claim with a selector takes volumes that are there, none are made for it")
	case claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil:
		return nil, errors.New("volumes with a data source are not supported")
	case claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		return nil, errors.New("volumeMode Block is not supported")
	}
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return nil, fmt.Errorf("access mode %s is not supported: the volume is on one node", mode)
		}
	}
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	name := "pvc-" + string(claim.UID)
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			// The node follows the volumes with its own host name.
			Name: name, Labels: map[string]string{corev1.LabelHostname: host}, Finalizers: []string{localvolume.Finalizer},
			Annotations: map[string]string{volumehelpers.AnnDynamicallyProvisioned: localvolume.Provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class.Name, PersistentVolumeReclaimPolicy: policy,
			AccessModes: claim.Spec.AccessModes, VolumeMode: claim.Spec.VolumeMode,
			Capacity: corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			ClaimRef: &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: localvolume.Driver, VolumeHandle: name}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}}}}}},
		},
	}, nil
}

// NewVolumes returns the controller that deletes volumes.
func NewVolumes(deps controller.Deps) (controller.Runnable, error) {
	r := &Volumes{deps}
	return controller.New(Name+"-volumes", deps, 2, r,
		controller.Self(deps.Cache, &corev1.PersistentVolume{}),
		controller.On(deps.Cache, &corev1.Node{}, func(ctx context.Context, before, after *corev1.Node) []reconcile.Request {
			if after != nil {
				return nil
			}
			return r.of(ctx, before)
		}))
}

// Volumes lets go of one volume at a time.
type Volumes struct{ controller.Deps }

// of are the volumes on a node that are being deleted.
func (r *Volumes) of(ctx context.Context, node *corev1.Node) []reconcile.Request {
	var list corev1.PersistentVolumeList
	if err := r.Client.List(ctx, &list); err != nil {
		r.Logger.Error("list volumes", "err", err)
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if v := &list.Items[i]; v.DeletionTimestamp != nil && localvolume.Host(v) == node.Labels[corev1.LabelHostname] {
			requests = append(requests, controller.Request(v))
		}
	}
	return requests
}

// Reconcile deletes a volume that is released under the policy Delete, and
// takes the finalizer off one whose directory nobody is to remove.
func (r *Volumes) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	v := &corev1.PersistentVolume{}
	if err := r.Client.Get(ctx, req.NamespacedName, v); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if v.Annotations[volumehelpers.AnnDynamicallyProvisioned] != localvolume.Provisioner {
		return reconcile.Result{}, nil
	}
	if v.DeletionTimestamp == nil {
		if v.Status.Phase != corev1.VolumeReleased || v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
			return reconcile.Result{}, nil
		}
		err := r.Client.Delete(ctx, v, client.Preconditions{UID: &v.UID, ResourceVersion: &v.ResourceVersion})
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("delete volume %q: %w", v.Name, err)
		}
		return reconcile.Result{}, nil
	}
	if !controllerutil.ContainsFinalizer(v, localvolume.Finalizer) || v.Status.Phase == corev1.VolumeBound {
		return reconcile.Result{}, nil
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		lives, err := r.nodeLives(ctx, localvolume.Host(v))
		if err != nil || lives {
			return reconcile.Result{}, err
		}
	}
	controllerutil.RemoveFinalizer(v, localvolume.Finalizer)
	if err := r.Client.Update(ctx, v); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("let volume %q go: %w", v.Name, err)
	}
	return reconcile.Result{}, nil
}

// nodeLives tells whether there is a node of this host name.
func (r *Volumes) nodeLives(ctx context.Context, host string) (bool, error) {
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.MatchingLabels{corev1.LabelHostname: host}); err != nil {
		return false, fmt.Errorf("list nodes: %w", err)
	}
	return len(nodes.Items) > 0, nil
}
