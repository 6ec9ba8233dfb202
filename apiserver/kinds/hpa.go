package kinds

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func horizontalPodAutoscalerKind() *kind.Kind {
	p := partsOf(func(o *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerSpec {
		return &o.Spec
	}, func(o *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerStatus {
		return &o.Status
	})
	doc := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()
	k := &kind.Kind{
		GVK:           autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"),
		Plural:        "horizontalpodautoscalers",
		Singular:      "horizontalpodautoscaler",
		ShortNames:    []string{"hpa"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "horizontalpodautoscalers",
		New:           func() txn.Object { return &autoscalingv2.HorizontalPodAutoscaler{} },
		NewList:       func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
		Default:       defaults(defaultHPA),
		Prepare:       p.main,
		Subresources:  map[string]kind.Subresource{"status": p.statusSubresource(checkHPAStatus)},
		Validate:      validate(checkHPA),
		Columns: []column{
			nameColumn(), str("Reference", doc["scaleTargetRef"]), str("Targets", doc["metrics"]), str("MinPods", doc["minReplicas"]),
			str("MaxPods", doc["maxReplicas"]), str("Replicas", autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()["currentReplicas"]), ageColumn(),
		},
		Row: row(hpaRow),
	}
	serveHPAV1(k)
	return k
}

func defaultHPA(o *autoscalingv2.HorizontalPodAutoscaler) {
	s := &o.Spec
	setDefaultPtr(&s.MinReplicas, 1)
	if len(s.Metrics) == 0 {
		utilization := int32(80)
		s.Metrics = []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
			},
		}}
	}
	if s.Behavior == nil {
		return
	}
	// Where one direction has rules, so has the other.
	setDefaultPtr(&s.Behavior.ScaleUp, autoscalingv2.HPAScalingRules{})
	setDefaultPtr(&s.Behavior.ScaleDown, autoscalingv2.HPAScalingRules{})
	up := s.Behavior.ScaleUp
	setDefaultPtr(&up.StabilizationWindowSeconds, 0)
	defaultScalingRules(up, autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
		autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
	defaultScalingRules(s.Behavior.ScaleDown, autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
}

func defaultScalingRules(r *autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) {
	setDefaultPtr(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if len(r.Policies) == 0 {
		r.Policies = policies
	}
}
