package custom

import (
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// scale reads and writes the number of replicas where a definition says it is.
type scale struct {
	*apiextensionsv1.CustomResourceSubresourceScale
}

func (s scale) subresource() kind.Subresource {
	return kind.Subresource{GVK: scaleKind, Verbs: []string{"get", "patch", "update"}, Get: s.get, Set: s.set, Replicas: split(s.SpecReplicasPath)}
}

func (s scale) get(o txn.Object) (txn.Object, error) {
	object := content(o)
	wanted, found, err := unstructured.NestedInt64(object, split(s.SpecReplicasPath)...)
	if err == nil && !found {
		err = fmt.Errorf("the spec replicas field %q does not exist", s.SpecReplicasPath)
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	have, _, err := unstructured.NestedInt64(object, split(s.StatusReplicasPath)...)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	selector := ""
	if s.LabelSelectorPath != nil {
		if selector, _, err = unstructured.NestedString(object, split(*s.LabelSelectorPath)...); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
	}
	return &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{APIVersion: scaleKind.GroupVersion().String(), Kind: scaleKind.Kind},
		ObjectMeta: metav1.ObjectMeta{
			Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: int32(wanted)},
		Status: autoscalingv1.ScaleStatus{Replicas: int32(have), Selector: selector},
	}, nil
}

func (s scale) set(o, parameter txn.Object, _ time.Time) (txn.Object, error) {
	wanted, ok := parameter.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("wrong object passed to Scale update: %T", parameter))
	}
	if wanted.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(scaleKind.GroupKind(), o.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), wanted.Spec.Replicas, "must be greater than or equal to 0")})
	}
	u := o.(*unstructured.Unstructured).DeepCopy()
	if err := unstructured.SetNestedField(u.Object, int64(wanted.Spec.Replicas), split(s.SpecReplicasPath)...); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return u, nil
}
