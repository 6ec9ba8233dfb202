package kinds

import (
	"k8s.io/apimachinery/pkg/util/intstr"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func daemonSetKind() *kind.Kind {
	p := partsOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &o.Spec }, func(o *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &o.Status }).
		of(func(o *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &o.Spec.Template })
	doc := appsv1.DaemonSetStatus{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
		Plural:        "daemonsets",
		Singular:      "daemonset",
		ShortNames:    []string{"ds"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "daemonsets",
		New:           func() txn.Object { return &appsv1.DaemonSet{} },
		NewList:       func() runtime.Object { return &appsv1.DaemonSetList{} },
		Default:       defaults(defaultDaemonSet),
		Prepare: prepare(func(o, old *appsv1.DaemonSet) {
			p.main(o, untyped(old))
			countTemplates(o, old)
		}),
		Subresources: map[string]kind.Subresource{"status": p.statusSubresource(checkDaemonSetStatus)},
		Validate:     validate(checkDaemonSet),
		Warnings: warnings(func(o, _ *appsv1.DaemonSet) []string {
			return templateWarnings(field.NewPath("spec", "template"), &o.Spec.Template)
		}),
		Columns: append([]column{
			nameColumn(), integer("Desired", doc["desiredNumberScheduled"]), integer("Current", doc["currentNumberScheduled"]),
			integer("Ready", doc["numberReady"]), integer("Up-to-date", doc["updatedNumberScheduled"]),
			integer("Available", doc["numberAvailable"]), str("Node Selector", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *appsv1.DaemonSet, now time.Time) []any {
			pod, s := &o.Spec.Template.Spec, &o.Status
			return []any{
				o.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady),
				int64(s.UpdatedNumberScheduled), int64(s.NumberAvailable), labelsText(pod.NodeSelector), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers), selectorText(o.Spec.Selector),
			}
		}),
	}
}

// countTemplates counts the versions of a DaemonSet's template in an annotation,
// where clients of the first versions of the API look for it.
func countTemplates(o, old *appsv1.DaemonSet) {
	n := int64(1)
	if old != nil {
		n, _ = strconv.ParseInt(old.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64) // absent is 0, as there
		if !equality.Semantic.DeepEqual(&o.Spec.Template, &old.Spec.Template) {
			n++
		}
	}
	o.Annotations = mapsCopy(o.Annotations)
	o.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}

func defaultDaemonSet(o *appsv1.DaemonSet) {
	s := &o.Spec
	setDefault(&s.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		setDefaultPtr(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		setDefaultPtr(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		setDefaultPtr(&s.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	setDefaultPtr(&s.RevisionHistoryLimit, 10)
	defaultPodSpec(&s.Template.Spec)
}
