package replicaset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kind is a kind of sets that keep a number of pods: the reconciler does the
// same for all of them and sees each as a ReplicaSet.
type Kind struct {
	// Name is the controller's, and its service account's in kube-system.
	Name string
	GVK  schema.GroupVersionKind
	// Empty makes an empty object of the kind.
	Empty func() client.Object
	// List reads the sets of a namespace as ReplicaSets, which are shared.
	List func(ctx context.Context, from client.Reader, namespace string) ([]*appsv1.ReplicaSet, error)
	// Set is what an object asks for. It may share parts with the object.
	Set func(o client.Object) *appsv1.ReplicaSet
	// SetStatus writes a status into the object and tells whether it changed.
	SetStatus func(o client.Object, status appsv1.ReplicaSetStatus) bool
}

// Name is the name of the controller of ReplicaSets.
const Name = "replicaset-controller"

// Sets are ReplicaSets themselves.
var Sets = Kind{
	Name:  Name,
	GVK:   appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
	Empty: func() client.Object { return &appsv1.ReplicaSet{} },
	List: func(ctx context.Context, from client.Reader, namespace string) ([]*appsv1.ReplicaSet, error) {
		var list appsv1.ReplicaSetList
		err := from.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
		return pointers(list.Items), err
	},
	Set: func(o client.Object) *appsv1.ReplicaSet { return o.(*appsv1.ReplicaSet) },
	SetStatus: func(o client.Object, status appsv1.ReplicaSetStatus) bool {
		return replace(&o.(*appsv1.ReplicaSet).Status, status)
	},
}

// ControllersName is the name of the controller of ReplicationControllers.
const ControllersName = "replication-controller"

// Controllers are ReplicationControllers, the ReplicaSets of the first API:
// the selector is a map, and terminating pods are not counted.
var Controllers = Kind{
	Name:  ControllersName,
	GVK:   corev1.SchemeGroupVersion.WithKind("ReplicationController"),
	Empty: func() client.Object { return &corev1.ReplicationController{} },
	List: func(ctx context.Context, from client.Reader, namespace string) ([]*appsv1.ReplicaSet, error) {
		var list corev1.ReplicationControllerList
		err := from.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
		sets := make([]*appsv1.ReplicaSet, len(list.Items))
		for i := range list.Items {
			sets[i] = fromController(&list.Items[i])
		}
		return sets, err
	},
	Set: func(o client.Object) *appsv1.ReplicaSet { return fromController(o.(*corev1.ReplicationController)) },
	SetStatus: func(o client.Object, status appsv1.ReplicaSetStatus) bool {
		return replace(&o.(*corev1.ReplicationController).Status, toController(status))
	},
}

func replace[T any](status *T, next T) bool {
	if equality.Semantic.DeepEqual(*status, next) {
		return false
	}
	*status = next
	return true
}

func fromController(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{
			Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds,
			Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
		},
	}
	if rc.Spec.Template != nil { // validation refuses nil
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}

func toController(s appsv1.ReplicaSetStatus) corev1.ReplicationControllerStatus {
	status := corev1.ReplicationControllerStatus{
		Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas,
		AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration,
	}
	for _, c := range s.Conditions {
		status.Conditions = append(status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return status
}
