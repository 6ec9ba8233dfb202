package kinds

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func replicaSetKind() *kind.Kind {
	p := partsOf(func(o *appsv1.ReplicaSet) *appsv1.ReplicaSetSpec { return &o.Spec }, func(o *appsv1.ReplicaSet) *appsv1.ReplicaSetStatus { return &o.Status }).
		of(func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template })
	return &kind.Kind{
		GVK:           appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Plural:        "replicasets",
		Singular:      "replicaset",
		ShortNames:    []string{"rs"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "replicasets",
		New:           func() txn.Object { return &appsv1.ReplicaSet{} },
		NewList:       func() runtime.Object { return &appsv1.ReplicaSetList{} },
		Default: defaults(func(o *appsv1.ReplicaSet) {
			setDefaultPtr(&o.Spec.Replicas, 1)
			defaultPodSpec(&o.Spec.Template.Spec)
		}),
		Prepare: p.main,
		Subresources: map[string]kind.Subresource{
			"status": p.statusSubresource(checkReplicaSetStatus),
			"scale": scaleOf[*appsv1.ReplicaSet]{
				resource: schema.GroupResource{Group: appsv1.GroupName, Resource: "replicasets"},
				spec:     func(o *appsv1.ReplicaSet) **int32 { return &o.Spec.Replicas },
				replicas: func(o *appsv1.ReplicaSet) int32 { return o.Status.Replicas },
				selector: func(o *appsv1.ReplicaSet) string { return selectorQuery(o.Spec.Selector) },
			}.subresource(),
		},
		Fields: map[string]func(txn.Object) string{
			"status.replicas": text(func(o *appsv1.ReplicaSet) string { return strconv.Itoa(int(o.Status.Replicas)) }),
		},
		Indexes:  owned(nil),
		Validate: validate(checkReplicaSet),
		Warnings: warnings(func(o, old *appsv1.ReplicaSet) []string {
			return workloadWarnings(o, untyped(old), field.NewPath("spec", "template"), &o.Spec.Template)
		}),
		Columns: append([]column{
			nameColumn(), integer("Desired", appsv1.ReplicaSetSpec{}.SwaggerDoc()["replicas"]),
			integer("Current", appsv1.ReplicaSetStatus{}.SwaggerDoc()["replicas"]),
			integer("Ready", appsv1.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *appsv1.ReplicaSet, now time.Time) []any {
			pod := &o.Spec.Template.Spec
			return []any{
				o.Name, int64(deref(o.Spec.Replicas, 0)), int64(o.Status.Replicas), int64(o.Status.ReadyReplicas), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers), selectorText(o.Spec.Selector),
			}
		}),
	}
}
