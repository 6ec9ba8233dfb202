package kinds

import (
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// scaleOf says how a kind is scaled.
type scaleOf[T txn.Object] struct {
	resource schema.GroupResource
	spec     func(T) **int32
	replicas func(T) int32
	selector func(T) string
}

func (s scaleOf[T]) subresource() kind.Subresource {
	return kind.Subresource{GVK: scaleKind, Verbs: []string{"get", "patch", "update"}, Get: s.get, Set: s.set, Replicas: []string{"spec", "replicas"}}
}

func (s scaleOf[T]) get(o txn.Object) (txn.Object, error) {
	t := o.(T)
	return &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{APIVersion: scaleKind.GroupVersion().String(), Kind: scaleKind.Kind},
		ObjectMeta: metav1.ObjectMeta{
			Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: deref(*s.spec(t), 0)},
		Status: autoscalingv1.ScaleStatus{Replicas: s.replicas(t), Selector: s.selector(t)},
	}, nil
}

func (s scaleOf[T]) set(o, parameter txn.Object, _ time.Time) (txn.Object, error) {
	scale, ok := parameter.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("wrong object passed to Scale update: %T", parameter))
	}
	if scale.Name != o.GetName() && scale.Name != "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", scale.Name, o.GetName()))
	}
	if scale.UID != "" && scale.UID != o.GetUID() {
		return nil, apierrors.NewConflict(s.resource, o.GetName(),
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, o.GetUID()))
	}
	if scale.ResourceVersion != "" && scale.ResourceVersion != o.GetResourceVersion() {
		return nil, apierrors.NewConflict(s.resource, o.GetName(), errModified)
	}
	if scale.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(scaleKind.GroupKind(), o.GetName(),
			field.ErrorList{field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, isNegative)})
	}
	c := o.DeepCopyObject().(T)
	replicas := scale.Spec.Replicas
	*s.spec(c) = &replicas
	return c, nil
}
