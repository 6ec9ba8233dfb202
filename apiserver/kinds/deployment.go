package kinds

import (
	"fmt"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func deploymentKind() *kind.Kind {
	p := partsOf(func(o *appsv1.Deployment) *appsv1.DeploymentSpec { return &o.Spec }, func(o *appsv1.Deployment) *appsv1.DeploymentStatus { return &o.Status }).
		of(func(o *appsv1.Deployment) *corev1.PodTemplateSpec { return &o.Spec.Template })
	doc := appsv1.DeploymentStatus{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Plural:        "deployments",
		Singular:      "deployment",
		ShortNames:    []string{"deploy"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "deployments",
		New:           func() txn.Object { return &appsv1.Deployment{} },
		NewList:       func() runtime.Object { return &appsv1.DeploymentList{} },
		Default:       defaults(defaultDeployment),
		Prepare: prepare(func(o, old *appsv1.Deployment) {
			p.main(o, untyped(old))
			if old != nil && o.Generation == old.Generation && !equality.Semantic.DeepEqual(o.Annotations, old.Annotations) {
				// Its annotations are copied to its ReplicaSets.
				o.Generation++
			}
		}),
		Subresources: map[string]kind.Subresource{
			"status": p.statusSubresource(checkDeploymentStatus),
			"scale": scaleOf[*appsv1.Deployment]{
				resource: schema.GroupResource{Group: appsv1.GroupName, Resource: "deployments"},
				spec:     func(o *appsv1.Deployment) **int32 { return &o.Spec.Replicas },
				replicas: func(o *appsv1.Deployment) int32 { return o.Status.Replicas },
				selector: func(o *appsv1.Deployment) string { return selectorQuery(o.Spec.Selector) },
			}.subresource(),
		},
		Validate: validate(checkDeployment),
		Warnings: warnings(func(o, old *appsv1.Deployment) []string {
			return workloadWarnings(o, untyped(old), field.NewPath("spec", "template"), &o.Spec.Template)
		}),
		Columns: append([]column{
			nameColumn(), str("Ready", "Number of the pod with ready state"), str("Up-to-date", doc["updatedReplicas"]),
			str("Available", doc["availableReplicas"]), ageColumn(),
		}, templateColumns()...),
		Row: row(func(o *appsv1.Deployment, now time.Time) []any {
			pod := &o.Spec.Template.Spec
			return []any{
				o.Name, fmt.Sprintf("%d/%d", o.Status.ReadyReplicas, deref(o.Spec.Replicas, 0)), int64(o.Status.UpdatedReplicas),
				int64(o.Status.AvailableReplicas), age(o, now),
				containerNames(pod.Containers), containerImages(pod.Containers), selectorText(o.Spec.Selector),
			}
		}),
	}
}

func defaultDeployment(o *appsv1.Deployment) {
	s := &o.Spec
	setDefaultPtr(&s.Replicas, 1)
	setDefault(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		setDefaultPtr(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		setDefaultPtr(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		setDefaultPtr(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	setDefaultPtr(&s.RevisionHistoryLimit, 10)
	setDefaultPtr(&s.ProgressDeadlineSeconds, 600)
	defaultPodSpec(&s.Template.Spec)
}
