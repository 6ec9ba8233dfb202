package kinds

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// The annotations that carry what autoscaling/v1 has no fields for.
const (
	hpaMetrics    = "autoscaling.alpha.kubernetes.io/metrics"
	hpaCurrent    = "autoscaling.alpha.kubernetes.io/current-metrics"
	hpaConditions = "autoscaling.alpha.kubernetes.io/conditions"
	hpaBehavior   = "autoscaling.alpha.kubernetes.io/behavior"
)

// serveHPAV1 adds autoscaling/v1, which knows the processors' utilization only.
func serveHPAV1(k *kind.Kind) {
	k.Serve(kind.Version{
		GVK:     autoscalingv1.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"),
		New:     func() txn.Object { return &autoscalingv1.HorizontalPodAutoscaler{} },
		NewList: func() runtime.Object { return &autoscalingv1.HorizontalPodAutoscalerList{} },
		From:    convert(hpaToV1), To: convert(hpaFromV1),
	})
}

// cpuUtilization tells the metric that autoscaling/v1 has a field for.
func cpuUtilization(m *autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU &&
		m.Resource.Target.AverageUtilization != nil
}

func hpaToV1(o *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv1.HorizontalPodAutoscaler, error) {
	out := &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: o.ObjectMeta,
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(o.Spec.ScaleTargetRef), MinReplicas: o.Spec.MinReplicas, MaxReplicas: o.Spec.MaxReplicas,
		},
		Status: autoscalingv1.HorizontalPodAutoscalerStatus{
			ObservedGeneration: o.Status.ObservedGeneration, LastScaleTime: o.Status.LastScaleTime,
			CurrentReplicas: o.Status.CurrentReplicas, DesiredReplicas: o.Status.DesiredReplicas,
		},
	}
	var metrics []autoscalingv1.MetricSpec
	for i := range o.Spec.Metrics {
		if m := &o.Spec.Metrics[i]; cpuUtilization(m) && out.Spec.TargetCPUUtilizationPercentage == nil {
			out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
		} else {
			metrics = append(metrics, metricToV1(m))
		}
	}
	var current []autoscalingv1.MetricStatus
	for i := range o.Status.CurrentMetrics {
		m := &o.Status.CurrentMetrics[i]
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
		current = append(current, currentToV1(m))
	}
	notes := annotations{from: o.Annotations}
	notes.put(hpaMetrics, metrics, len(metrics) > 0)
	notes.put(hpaCurrent, current, len(current) > 0)
	notes.put(hpaConditions, o.Status.Conditions, len(o.Status.Conditions) > 0)
	notes.put(hpaBehavior, o.Spec.Behavior, o.Spec.Behavior != nil)
	out.Annotations = notes.result()
	return out, notes.err
}

// annotations collects what is put beside an object's own annotations.
type annotations struct {
	from, out map[string]string
	err       error
}

func (a *annotations) put(key string, value any, wanted bool) {
	if !wanted {
		return
	}
	b, err := json.Marshal(value)
	if err != nil {
		a.err = fmt.Errorf("encode %s: %w", key, err)
		return
	}
	if a.out == nil {
		a.out = maps.Clone(a.from)
	}
	if a.out == nil {
		a.out = map[string]string{}
	}
	a.out[key] = string(b)
}

// take decodes an annotation and leaves it out of the result. One that cannot
// be decoded is nobody's and is dropped, as Kubernetes does.
func (a *annotations) take(key string, into any) bool {
	text, ok := a.from[key]
	if !ok {
		return false
	}
	if a.out == nil {
		a.out = maps.Clone(a.from)
	}
	delete(a.out, key)
	return json.Unmarshal([]byte(text), into) == nil
}

func (a *annotations) result() map[string]string {
	if a.out == nil {
		return a.from
	}
	if len(a.out) == 0 {
		return nil
	}
	return a.out
}

func hpaFromV1(o *autoscalingv1.HorizontalPodAutoscaler) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	out := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: o.ObjectMeta,
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(o.Spec.ScaleTargetRef), MinReplicas: o.Spec.MinReplicas, MaxReplicas: o.Spec.MaxReplicas,
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			ObservedGeneration: o.Status.ObservedGeneration, LastScaleTime: o.Status.LastScaleTime,
			CurrentReplicas: o.Status.CurrentReplicas, DesiredReplicas: o.Status.DesiredReplicas,
		},
	}
	notes := annotations{from: o.Annotations}
	var metrics []autoscalingv1.MetricSpec
	if notes.take(hpaMetrics, &metrics) {
		for i := range metrics {
			out.Spec.Metrics = append(out.Spec.Metrics, metricFromV1(&metrics[i]))
		}
	}
	if percent := o.Spec.TargetCPUUtilizationPercentage; percent != nil {
		cpu := autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: percent}}}
		out.Spec.Metrics = append([]autoscalingv2.MetricSpec{cpu}, out.Spec.Metrics...)
	}
	behavior := &autoscalingv2.HorizontalPodAutoscalerBehavior{}
	if notes.take(hpaBehavior, behavior) {
		out.Spec.Behavior = behavior
	}
	var conditions []autoscalingv2.HorizontalPodAutoscalerCondition
	if notes.take(hpaConditions, &conditions) {
		out.Status.Conditions = conditions
	}
	var current []autoscalingv1.MetricStatus
	if notes.take(hpaCurrent, &current) {
		for i := range current {
			out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, currentFromV1(&current[i]))
		}
	} else if percent := o.Status.CurrentCPUUtilizationPercentage; percent != nil {
		out.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{
			Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: percent}}}}
	}
	out.Annotations = notes.result()
	return out, nil
}
