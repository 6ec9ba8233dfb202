package kinds

import (
	"fmt"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func statefulSetKind() *kind.Kind {
	p := partsOf(func(o *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &o.Spec }, func(o *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &o.Status }).
		of(func(o *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &o.Spec.Template })
	return &kind.Kind{
		Name:          apivalidation.NameIsDNSLabel,
		GVK:           appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		Plural:        "statefulsets",
		Singular:      "statefulset",
		ShortNames:    []string{"sts"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "statefulsets",
		New:           func() txn.Object { return &appsv1.StatefulSet{} },
		NewList:       func() runtime.Object { return &appsv1.StatefulSetList{} },
		Default:       defaults(defaultStatefulSet),
		Prepare:       p.main,
		Subresources: map[string]kind.Subresource{
			"status": p.statusSubresource(checkStatefulSetStatus),
			"scale": scaleOf[*appsv1.StatefulSet]{
				resource: schema.GroupResource{Group: appsv1.GroupName, Resource: "statefulsets"},
				spec:     func(o *appsv1.StatefulSet) **int32 { return &o.Spec.Replicas },
				replicas: func(o *appsv1.StatefulSet) int32 { return o.Status.Replicas },
				selector: func(o *appsv1.StatefulSet) string { return selectorQuery(o.Spec.Selector) },
			}.subresource(),
		},
		Validate: validate(checkStatefulSet),
		Warnings: warnings(func(o, _ *appsv1.StatefulSet) []string {
			all := templateWarnings(field.NewPath("spec", "template"), &o.Spec.Template)
			if deref(o.Spec.RevisionHistoryLimit, 0) < 0 {
				all = append(all, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
			}
			return all
		}),
		Columns: append([]column{
			nameColumn(), str("Ready", "Number of the pod with ready state"), ageColumn(),
		}, templateColumns()[:2]...),
		Row: row(func(o *appsv1.StatefulSet, now time.Time) []any {
			pod := &o.Spec.Template.Spec
			return []any{
				o.Name, fmt.Sprintf("%d/%d", o.Status.ReadyReplicas, deref(o.Spec.Replicas, 0)), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers),
			}
		}),
	}
}

func defaultStatefulSet(o *appsv1.StatefulSet) {
	s := &o.Spec
	setDefault(&s.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		setDefaultPtr(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if s.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && s.UpdateStrategy.RollingUpdate != nil {
		setDefaultPtr(&s.UpdateStrategy.RollingUpdate.Partition, 0)
		setDefaultPtr(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	setDefaultPtr(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	setDefault(&s.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	setDefault(&s.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	setDefaultPtr(&s.Replicas, 1)
	setDefaultPtr(&s.RevisionHistoryLimit, 10)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		// Not stored, but the API shows what the templates are.
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		defaultPersistentVolumeClaim(c)
	}
	defaultPodSpec(&s.Template.Spec)
}
