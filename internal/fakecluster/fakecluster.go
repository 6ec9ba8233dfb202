// Package fakecluster is a small emulator of the API for the tests of
// controllers: controller-runtime's fake client, with what the server sets
// (uid, creation time, generation), pod binding, and a cache that is fed by
// the client's watches.
package fakecluster

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta/testrestmapper"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/internal/ownership"
)

// Cluster is an emulated API. The hooks may be set before the first call.
type Cluster struct {
	client.WithWatch
	// BeforeCreate and BeforeDelete may refuse a write.
	BeforeCreate func(o client.Object) error
	BeforeDelete func(o client.Object) error

	clock clock.PassiveClock
	uid   atomic.Int64
}

// New returns an emulated API that has the objects.
func New(clk clock.PassiveClock, objects ...client.Object) *Cluster {
	c := &Cluster{clock: clk}
	builder := fake.NewClientBuilder().
		WithScheme(clientgoscheme.Scheme).
		WithRESTMapper(testrestmapper.TestOnlyStaticRESTMapper(clientgoscheme.Scheme)).
		WithStatusSubresource(statusKinds()...).
		WithIndex(&corev1.Pod{}, "spec.nodeName", func(o client.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} })
	for _, o := range []client.Object{&corev1.Pod{}, &appsv1.ReplicaSet{}, &appsv1.ControllerRevision{}, &batchv1.Job{}} {
		builder.WithIndex(o, ownership.Controller, func(o client.Object) []string { return ownership.ControllerOf(o) })
		builder.WithIndex(o, ownership.Orphan, func(o client.Object) []string { return ownership.OrphanIn(o) })
	}
	c.WithWatch = interceptor.NewClient(builder.Build(), interceptor.Funcs{
		Create:            c.create,
		Update:            c.update,
		Delete:            c.delete,
		SubResourceCreate: c.subresourceCreate,
		SubResourceUpdate: subresourceUpdate,
	})
	for _, o := range objects {
		status := o.DeepCopyObject().(client.Object)
		if err := c.Create(context.Background(), o); err != nil {
			panic(fmt.Sprintf("create %T %s: %v", o, o.GetName(), err))
		}
		status.SetResourceVersion(o.GetResourceVersion())
		status.SetUID(o.GetUID())
		if field(status, "Status").IsValid() {
			if err := c.Status().Update(context.Background(), status); err != nil {
				continue // kinds without a status subresource keep theirs on create
			}
		}
		_ = c.Get(context.Background(), client.ObjectKeyFromObject(o), o) // it has just been created
	}
	return c
}

func statusKinds() []client.Object {
	var kinds []client.Object
	for gvk := range clientgoscheme.Scheme.AllKnownTypes() {
		o, err := clientgoscheme.Scheme.New(gvk)
		if err != nil || gvk.Version != "v1" && gvk.Version != "v2" {
			continue
		}
		if object, ok := o.(client.Object); ok && field(object, "Status").IsValid() {
			kinds = append(kinds, object)
		}
	}
	return kinds
}

func field(o runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(o).Elem().FieldByName(name)
}

func (c *Cluster) create(ctx context.Context, w client.WithWatch, o client.Object, options ...client.CreateOption) error {
	if c.BeforeCreate != nil {
		if err := c.BeforeCreate(o); err != nil {
			return err
		}
	}
	n := c.uid.Add(1)
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprintf("uid-%d", n)))
	}
	if o.GetCreationTimestamp().Time.IsZero() {
		o.SetCreationTimestamp(metav1.NewTime(c.clock.Now()))
	}
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(fmt.Sprintf("%s%05d", o.GetGenerateName(), n))
	}
	o.SetGeneration(1)
	if pod, ok := o.(*corev1.Pod); ok && pod.Status.Phase == "" {
		pod.Status.Phase = corev1.PodPending
	}
	return w.Create(ctx, o, options...)
}

func (c *Cluster) update(ctx context.Context, w client.WithWatch, o client.Object, options ...client.UpdateOption) error {
	stored := o.DeepCopyObject().(client.Object)
	if err := w.Get(ctx, client.ObjectKeyFromObject(o), stored); err != nil {
		return err
	}
	o.SetGeneration(stored.GetGeneration())
	if spec := field(o, "Spec"); spec.IsValid() && !reflect.DeepEqual(spec.Interface(), field(stored, "Spec").Interface()) {
		o.SetGeneration(stored.GetGeneration() + 1)
	}
	return w.Update(ctx, o, options...)
}

func (c *Cluster) delete(ctx context.Context, w client.WithWatch, o client.Object, options ...client.DeleteOption) error {
	if c.BeforeDelete != nil {
		if err := c.BeforeDelete(o); err != nil {
			return err
		}
	}
	return w.Delete(ctx, o, options...)
}

func (c *Cluster) subresourceCreate(ctx context.Context, w client.Client, subresource string, o, parameter client.Object, options ...client.SubResourceCreateOption) error {
	binding, ok := parameter.(*corev1.Binding)
	if !ok {
		return w.SubResource(subresource).Create(ctx, o, parameter, options...)
	}
	pod := &corev1.Pod{}
	if err := w.Get(ctx, client.ObjectKeyFromObject(o), pod); err != nil {
		return err
	}
	pod.Spec.NodeName = binding.Target.Name
	return w.Update(ctx, pod)
}

// subresourceUpdate adds what the fake client does not know: a namespace is
// finalized by letting its (emulated) finalizers go, an approval is a status.
func subresourceUpdate(ctx context.Context, w client.Client, subresource string, o client.Object, options ...client.SubResourceUpdateOption) error {
	switch subresource {
	case "approval":
		return w.Status().Update(ctx, o)
	case "finalize":
		o.SetFinalizers(nil)
		return w.Update(ctx, o)
	case "status":
		if d, ok := o.(*appsv1.Deployment); ok {
			if err := keepAnnotations(ctx, w, d); err != nil {
				return err
			}
		}
	}
	return w.SubResource(subresource).Update(ctx, o, options...)
}

// keepAnnotations stores a Deployment's annotations: a write of its status takes
// them along, and they count as no generation there.
func keepAnnotations(ctx context.Context, w client.Client, d *appsv1.Deployment) error {
	stored := &appsv1.Deployment{}
	if err := w.Get(ctx, client.ObjectKeyFromObject(d), stored); err != nil {
		return err
	}
	if stored.ResourceVersion != d.ResourceVersion || maps.Equal(stored.Annotations, d.Annotations) {
		return nil // a conflict is told of by the write itself
	}
	stored.Annotations = maps.Clone(d.Annotations)
	if err := w.Update(ctx, stored); err != nil {
		return err
	}
	d.ResourceVersion = stored.ResourceVersion
	return nil
}
