package kinds

import (
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

func hpaRow(o *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
	minimum := unset
	if o.Spec.MinReplicas != nil {
		minimum = fmt.Sprint(*o.Spec.MinReplicas)
	}
	return []any{
		o.Name, o.Spec.ScaleTargetRef.Kind + "/" + o.Spec.ScaleTargetRef.Name, hpaTargets(o), minimum,
		int64(o.Spec.MaxReplicas), int64(o.Status.CurrentReplicas), age(o, now),
	}
}

// hpaTargets shows the first two metrics as current/target; currents are
// matched to metrics by position.
func hpaTargets(o *autoscalingv2.HorizontalPodAutoscaler) string {
	if len(o.Spec.Metrics) == 0 {
		return none
	}
	texts := make([]string, len(o.Spec.Metrics))
	for i := range o.Spec.Metrics {
		var current autoscalingv2.MetricStatus
		if i < len(o.Status.CurrentMetrics) {
			current = o.Status.CurrentMetrics[i]
		}
		texts[i] = hpaMetric(&o.Spec.Metrics[i], &current)
	}
	if len(texts) > 2 {
		return strings.Join(texts[:2], ", ") + fmt.Sprintf(" + %d more...", len(texts)-2)
	}
	return strings.Join(texts, ", ")
}

func hpaMetric(spec *autoscalingv2.MetricSpec, status *autoscalingv2.MetricStatus) string {
	none := &autoscalingv2.MetricValueStatus{}
	switch {
	case spec.Resource != nil:
		current := none
		if status.Resource != nil {
			current = &status.Resource.Current
		}
		return string(spec.Resource.Name) + ": " + hpaValue(&spec.Resource.Target, current)
	case spec.ContainerResource != nil:
		current := none
		if status.ContainerResource != nil {
			current = &status.ContainerResource.Current
		}
		return string(spec.ContainerResource.Name) + ": " + hpaValue(&spec.ContainerResource.Target, current)
	case spec.Pods != nil:
		current := none
		if status.Pods != nil {
			current = &status.Pods.Current
		}
		return hpaValue(&spec.Pods.Target, current)
	case spec.Object != nil:
		current := none
		if status.Object != nil {
			current = &status.Object.Current
		}
		return hpaValue(&spec.Object.Target, current)
	case spec.External != nil:
		current := none
		if status.External != nil {
			current = &status.External.Current
		}
		return hpaValue(&spec.External.Target, current)
	}
	return "<unknown type>"
}

func hpaValue(target *autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	now := unknown
	switch {
	case target.AverageUtilization != nil:
		if current.AverageUtilization != nil {
			now = fmt.Sprintf("%d%%", *current.AverageUtilization)
		}
		return fmt.Sprintf("%s/%d%%", now, *target.AverageUtilization)
	case target.AverageValue != nil:
		if current.AverageValue != nil {
			now = current.AverageValue.String()
		}
		return now + "/" + target.AverageValue.String() + " (avg)"
	case target.Value != nil:
		if current.Value != nil {
			now = current.Value.String()
		}
		return now + "/" + target.Value.String()
	}
	return now + "/<auto>"
}
