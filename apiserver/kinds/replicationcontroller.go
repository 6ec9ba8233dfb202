package kinds

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func replicationControllerKind() *kind.Kind {
	p := partsOf(func(o *corev1.ReplicationController) *corev1.ReplicationControllerSpec { return &o.Spec }, func(o *corev1.ReplicationController) *corev1.ReplicationControllerStatus { return &o.Status }).
		of(func(o *corev1.ReplicationController) *corev1.PodTemplateSpec { return o.Spec.Template })
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		Plural:        "replicationcontrollers",
		Singular:      "replicationcontroller",
		ShortNames:    []string{"rc"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "controllers",
		New:           func() txn.Object { return &corev1.ReplicationController{} },
		NewList:       func() runtime.Object { return &corev1.ReplicationControllerList{} },
		Default:       defaults(defaultReplicationController),
		Prepare:       p.main,
		Subresources: map[string]kind.Subresource{
			"status": p.statusSubresource(checkReplicationControllerStatus),
			"scale": scaleOf[*corev1.ReplicationController]{
				resource: schema.GroupResource{Group: corev1.GroupName, Resource: "replicationcontrollers"},
				spec:     func(o *corev1.ReplicationController) **int32 { return &o.Spec.Replicas },
				replicas: func(o *corev1.ReplicationController) int32 { return o.Status.Replicas },
				selector: func(o *corev1.ReplicationController) string { return labels.SelectorFromSet(o.Spec.Selector).String() },
			}.subresource(),
		},
		Fields: map[string]func(txn.Object) string{
			"status.replicas": text(func(o *corev1.ReplicationController) string { return strconv.Itoa(int(o.Status.Replicas)) }),
		},
		Validate: validate(checkReplicationController),
		Warnings: warnings(func(o, old *corev1.ReplicationController) []string {
			if o.Spec.Template == nil {
				return nil
			}
			return workloadWarnings(o, untyped(old), field.NewPath("spec", "template"), o.Spec.Template)
		}),
		Columns: append([]column{
			nameColumn(), integer("Desired", corev1.ReplicationControllerSpec{}.SwaggerDoc()["replicas"]),
			integer("Current", corev1.ReplicationControllerStatus{}.SwaggerDoc()["replicas"]),
			integer("Ready", corev1.ReplicationControllerStatus{}.SwaggerDoc()["readyReplicas"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *corev1.ReplicationController, now time.Time) []any {
			var pod corev1.PodSpec
			if o.Spec.Template != nil {
				pod = o.Spec.Template.Spec
			}
			return []any{
				o.Name, int64(deref(o.Spec.Replicas, 0)), int64(o.Status.Replicas), int64(o.Status.ReadyReplicas), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers), labelsText(o.Spec.Selector),
			}
		}),
	}
}

func defaultReplicationController(o *corev1.ReplicationController) {
	if t := o.Spec.Template; t != nil {
		// Older than selectors of their own: what is left out is the template's.
		if len(o.Spec.Selector) == 0 {
			o.Spec.Selector = maps.Clone(t.Labels)
		}
		if len(o.Labels) == 0 {
			o.Labels = maps.Clone(t.Labels)
		}
		defaultPodSpec(&t.Spec)
	}
	setDefaultPtr(&o.Spec.Replicas, 1)
}
