package localpath

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headway-sh/headway/internal/localvolume"
	"github.com/headway-sh/headway/internal/storageclass"
	"github.com/headway-sh/headway/reconciler/controller"
)

// ClassName is the storage class that every cluster begins with.
const ClassName = "local-path"

// NewClass returns the controller that makes the class when the servers start.
// It is the default class as long as there is no other default: claims of a
// new cluster work, and who brings a class of his own is not in its way.
func NewClass(deps controller.Deps) (controller.Runnable, error) {
	return controller.New(Name+"-class", deps, 1, &Class{deps},
		source.Source(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			q.Add(controller.Named("", ClassName))
			return nil
		})))
}

// Class makes the class.
type Class struct{ controller.Deps }

// Reconcile makes the class if it is not there; one that is there is left as it is.
func (r *Class) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var classes storagev1.StorageClassList
	if err := r.Client.List(ctx, &classes); err != nil {
		return reconcile.Result{}, fmt.Errorf("list storage classes: %w", err)
	}
	standard := "true"
	for i := range classes.Items {
		switch {
		case classes.Items[i].Provisioner == localvolume.Provisioner:
			return reconcile.Result{}, nil
		case storageclass.IsDefault(classes.Items[i].Annotations):
			standard = "false"
		}
	}
	err := r.Client.Create(ctx, &storagev1.StorageClass{
		ObjectMeta:           metav1.ObjectMeta{Name: ClassName, Annotations: map[string]string{storageclass.DefaultAnnotation: standard}},
		Provisioner:          localvolume.Provisioner,
		ReclaimPolicy:        ptr.To(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode:    ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
		AllowVolumeExpansion: ptr.To(true),
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return reconcile.Result{}, fmt.Errorf("make storage class %q: %w", ClassName, err)
	}
	return reconcile.Result{}, nil
}
