package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func podTemplateKind() *kind.Kind {
	return &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("PodTemplate"),
		Plural:        "podtemplates",
		Singular:      "podtemplate",
		Namespaced:    true,
		StoragePrefix: "podtemplates",
		New:           func() txn.Object { return &corev1.PodTemplate{} },
		NewList:       func() runtime.Object { return &corev1.PodTemplateList{} },
		Default:       defaults(func(o *corev1.PodTemplate) { defaultPodSpec(&o.Template.Spec) }),
		Prepare: prepare(func(o, old *corev1.PodTemplate) {
			dropUnusedOf(o, untyped(old), func(o txn.Object) *corev1.PodTemplateSpec { return &o.(*corev1.PodTemplate).Template })
			countSpecs(o, untyped(old), &o.Template, func() any { return &old.Template })
		}),
		Validate: validate(checkPodTemplate),
		Warnings: warnings(func(o, _ *corev1.PodTemplate) []string {
			return templateWarnings(field.NewPath("template"), &o.Template)
		}),
		Columns: []column{
			nameColumn(), str("Containers", "Names of each container in the template."),
			str("Images", "Images referenced by each container in the template."), str("Pod Labels", "The labels for the pod template."),
		},
		Row: row(func(o *corev1.PodTemplate, _ time.Time) []any {
			pod := &o.Template.Spec
			return []any{o.Name, containerNames(pod.Containers), containerImages(pod.Containers), labelsText(o.Template.Labels)}
		}),
	}
}
