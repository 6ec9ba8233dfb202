package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var podMetrics = schema.GroupVersionKind{Group: metricsv1beta1.GroupName, Version: "v1beta1", Kind: "PodMetricsList"}

// errNoAPI is about metrics whose API this client cannot reach.
var errNoAPI = errors.New("no API for custom or external metrics is served")

// readings reads each metric of a spec.
func (r *Reconciler) readings(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, selector labels.Selector) []Reading {
	all := make([]Reading, len(hpa.Spec.Metrics))
	var pods []metricsv1beta1.PodMetrics
	var podsErr error
	asked := false
	for i, m := range hpa.Spec.Metrics {
		var resource corev1.ResourceName
		container := ""
		switch {
		case m.Resource != nil:
			resource = m.Resource.Name
		case m.ContainerResource != nil:
			resource, container = m.ContainerResource.Name, m.ContainerResource.Container
		default:
			all[i].Err = fmt.Errorf("unable to get %s metric: %w", m.Type, errNoAPI)
			continue
		}
		if !asked {
			pods, podsErr = r.podMetrics(ctx, hpa.Namespace, selector)
			asked = true
		}
		if podsErr != nil {
			all[i].Err = fmt.Errorf("unable to get metrics for resource %s: %w", resource, podsErr)
			continue
		}
		all[i].Pods = samples(pods, resource, container)
	}
	return all
}

func (r *Reconciler) podMetrics(ctx context.Context, namespace string, selector labels.Selector) ([]metricsv1beta1.PodMetrics, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(podMetrics)
	if err := r.Client.List(ctx, list, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from resource metrics API: %w", err)
	}
	all := make([]metricsv1beta1.PodMetrics, len(list.Items))
	for i, item := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &all[i]); err != nil {
			return nil, fmt.Errorf("read metrics of pod %q: %w", item.GetName(), err)
		}
	}
	return all, nil
}

// samples are what pods use of a resource, as a whole or in one container. A pod
// of which a part is not known has none.
func samples(pods []metricsv1beta1.PodMetrics, resource corev1.ResourceName, container string) map[string]Sample {
	all := map[string]Sample{}
	for _, p := range pods {
		s := Sample{At: p.Timestamp.Time, Window: p.Window.Duration}
		known := len(p.Containers) > 0
		found := false
		for _, c := range p.Containers {
			if container != "" && c.Name != container {
				continue
			}
			q, ok := c.Usage[resource]
			known, found = known && ok, true
			s.Value += q.MilliValue()
		}
		if known && found {
			all[p.Name] = s
		}
	}
	return all
}
