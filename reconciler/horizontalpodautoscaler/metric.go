package horizontalpodautoscaler

import (
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// metric is one metric of a spec, about to be answered.
type metric struct {
	*autoscalingv2.MetricSpec
	seen      Seen
	tolerance tolerance
	now       time.Time
}

// failure is the reason of the condition and event when it has no answer.
func (m metric) failure() string { return "FailedGet" + string(m.Type) + "Metric" }

// name is what it is called in reasons and messages.
func (m metric) name() string {
	switch m.Type {
	case autoscalingv2.ResourceMetricSourceType:
		return fmt.Sprintf("%s resource%s", m.Resource.Name, kindOf(m.Resource.Target))
	case autoscalingv2.ContainerResourceMetricSourceType:
		return fmt.Sprintf("%s container resource%s", m.ContainerResource.Name, kindOf(m.ContainerResource.Target))
	case autoscalingv2.PodsMetricSourceType:
		return "pods metric " + m.Pods.Metric.Name
	case autoscalingv2.ObjectMetricSourceType:
		return "Object metric " + m.Object.Metric.Name
	}
	return "external metric " + m.External.Metric.Name
}

func kindOf(t autoscalingv2.MetricTarget) string {
	if t.AverageUtilization != nil {
		return " utilization (percentage of request)"
	}
	return ""
}

// propose says how many replicas the metric wants, and what it is now.
func (m metric) propose(r Reading) (int32, autoscalingv2.MetricStatus, error) {
	status := autoscalingv2.MetricStatus{Type: m.Type}
	if r.Err != nil {
		return 0, status, r.Err
	}
	switch m.Type {
	case autoscalingv2.ResourceMetricSourceType:
		n, value, err := m.usage(r, m.Resource.Name, "", m.Resource.Target)
		status.Resource = &autoscalingv2.ResourceMetricStatus{Name: m.Resource.Name, Current: value}
		return n, status, err
	case autoscalingv2.ContainerResourceMetricSourceType:
		n, value, err := m.usage(r, m.ContainerResource.Name, m.ContainerResource.Container, m.ContainerResource.Target)
		status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: m.ContainerResource.Name, Container: m.ContainerResource.Container, Current: value}
		return n, status, err
	case autoscalingv2.PodsMetricSourceType:
		n, value, err := m.usage(r, "", "", m.Pods.Target)
		status.Pods = &autoscalingv2.PodsMetricStatus{Metric: m.Pods.Metric, Current: value}
		return n, status, err
	case autoscalingv2.ObjectMetricSourceType:
		n, value, err := m.single(r, m.Object.Target)
		status.Object = &autoscalingv2.ObjectMetricStatus{Metric: m.Object.Metric, DescribedObject: m.Object.DescribedObject, Current: value}
		return n, status, err
	}
	n, value, err := m.single(r, m.External.Target)
	status.External = &autoscalingv2.ExternalMetricStatus{Metric: m.External.Metric, Current: value}
	return n, status, err
}

// usage is the answer for what pods use, of what they ask for or each.
func (m metric) usage(r Reading, name corev1.ResourceName, container string, target autoscalingv2.MetricTarget) (int32, autoscalingv2.MetricValueStatus, error) {
	var status autoscalingv2.MetricValueStatus
	first := true
	u := usage{current: m.seen.Replicas, pods: m.seen.Pods, samples: r.Pods, cpu: name == corev1.ResourceCPU, tolerance: m.tolerance, now: m.now}
	if target.AverageUtilization == nil {
		aim := target.AverageValue.MilliValue()
		u.ratio = func(values map[string]int64) (float64, error) {
			average := total(values) / int64(len(values))
			if first {
				status.AverageValue, first = resource.NewMilliQuantity(average, resource.DecimalSI), false
			}
			return float64(average) / float64(aim), nil
		}
		u.full = func(string) int64 { return aim }
		n, err := u.replicas()
		return n, status, err
	}
	requests, err := requestsOf(m.seen.Pods, name, container)
	if err != nil {
		return 0, status, err
	}
	aim := int64(*target.AverageUtilization)
	u.ratio = func(values map[string]int64) (float64, error) {
		var used, asked int64
		for pod, v := range values {
			used += v
			asked += requests[pod]
		}
		if asked == 0 {
			return 0, fmt.Errorf("no metrics returned matched known pods")
		}
		percent := used * 100 / asked
		if first {
			status.AverageUtilization, first = new(int32(percent)), false
			status.AverageValue = resource.NewMilliQuantity(used/int64(len(values)), resource.DecimalSI)
		}
		return float64(percent) / float64(aim), nil
	}
	u.full = func(pod string) int64 { return requests[pod] * max(100, aim) / 100 }
	n, err := u.replicas()
	return n, status, err
}

// requestsOf is what pods, or one container of each, ask for, in thousandths.
func requestsOf(pods []*corev1.Pod, name corev1.ResourceName, container string) (map[string]int64, error) {
	requests := map[string]int64{}
	for _, p := range pods {
		if whole := p.Spec.Resources; whole != nil && container == "" {
			if q, ok := whole.Requests[name]; ok {
				requests[p.Name] = q.MilliValue()
				continue
			}
		}
		for _, c := range containersOf(p) {
			if container != "" && c.Name != container {
				continue
			}
			q, ok := c.Resources.Requests[name]
			if !ok {
				return nil, fmt.Errorf("missing request for %s in container %s of Pod %s", name, c.Name, p.Name)
			}
			requests[p.Name] += q.MilliValue()
		}
	}
	return requests, nil
}

// containersOf are those that run as long as the pod does.
func containersOf(p *corev1.Pod) []corev1.Container {
	all := p.Spec.Containers
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all[:len(all):len(all)], c)
		}
	}
	return all
}

// single is the answer for one value, as a whole or for each pod.
func (m metric) single(r Reading, target autoscalingv2.MetricTarget) (int32, autoscalingv2.MetricValueStatus, error) {
	if target.AverageValue != nil {
		n := each(r.Value, target.AverageValue.MilliValue(), m.seen.Status, m.tolerance)
		status := autoscalingv2.MetricValueStatus{}
		if m.seen.Status > 0 {
			status.AverageValue = resource.NewMilliQuantity((r.Value+int64(m.seen.Status)-1)/int64(m.seen.Status), resource.DecimalSI)
		}
		return n, status, nil
	}
	n, err := whole(float64(r.Value)/float64(target.Value.MilliValue()), m.seen.Replicas, m.seen.Pods, m.tolerance)
	return n, autoscalingv2.MetricValueStatus{Value: resource.NewMilliQuantity(r.Value, resource.DecimalSI)}, err
}
