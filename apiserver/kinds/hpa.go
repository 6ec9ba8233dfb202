package kinds

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func horizontalPodAutoscalerKind() *kind.Kind {
	doc := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"),
		Plural:        "horizontalpodautoscalers",
		Singular:      "horizontalpodautoscaler",
		ShortNames:    []string{"hpa"},
		Categories:    []string{"all"},
		Namespaced:    true,
		StoragePrefix: "horizontalpodautoscalers",
		New:           func() txn.Object { return &autoscalingv2.HorizontalPodAutoscaler{} },
		NewList:       func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
		Columns: []column{
			nameColumn(), str("Reference", doc["scaleTargetRef"]), str("Targets", doc["metrics"]), str("MinPods", doc["minReplicas"]),
			str("MaxPods", doc["maxReplicas"]), str("Replicas", autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()["currentReplicas"]), ageColumn(),
		},
		Row: row(hpaRow),
	}
}
