package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// defaultTolerance is how far from 1 a ratio may be when nothing else is said.
const defaultTolerance = 0.1

const gotScale = "the HPA controller was able to get the target's current scale"

// Reading is what one metric of the spec says.
type Reading struct {
	// Pods are the samples of metrics about pods, by the pod's name.
	Pods map[string]Sample
	// Value is that of metrics about something else, in thousandths.
	Value int64
	// Err is why there is no reading.
	Err error
}

// Seen is what a decision rests on.
type Seen struct {
	// Replicas is how many pods the target is to have, Status how many it has.
	Replicas, Status int32
	Pods             []*corev1.Pod
	// Readings are those of spec.metrics, in order.
	Readings []Reading
}

// Decision is what an autoscaler does and says.
type Decision struct {
	// Replicas is what the target is to have, and Why if that is to be changed.
	Replicas int32
	Why      string
	Status   autoscalingv2.HorizontalPodAutoscalerStatus
	Tell     []Event
}

// Event is told about the autoscaler.
type Event struct{ Type, Reason, Message string }

// Decide decides once. It notes in h what it recommends.
func Decide(hpa *autoscalingv2.HorizontalPodAutoscaler, seen Seen, h *History, now time.Time) Decision {
	d := Decision{Replicas: seen.Replicas, Status: *hpa.Status.DeepCopy()}
	d.Status.ObservedGeneration = &hpa.Generation
	d.Status.CurrentReplicas = seen.Status
	d.say(autoscalingv2.AbleToScale, true, "SucceededGetScale", gotScale, now)
	least, most := ptr.Deref(hpa.Spec.MinReplicas, 1), hpa.Spec.MaxReplicas
	switch {
	case seen.Replicas == 0 && least != 0:
		d.say(autoscalingv2.ScalingActive, false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero", now)
	case seen.Replicas > most:
		d.Replicas, d.Why = most, "Current number of replicas above Spec.MaxReplicas"
	case seen.Replicas < least:
		d.Replicas, d.Why = least, "Current number of replicas below Spec.MinReplicas"
	default:
		d.byMetrics(hpa, seen, h, least, most, now)
	}
	d.Status.DesiredReplicas = d.Replicas
	return d
}

func (d *Decision) byMetrics(hpa *autoscalingv2.HorizontalPodAutoscaler, seen Seen, h *History, least, most int32, now time.Time) {
	wanted, name, err := d.propose(hpa, seen, now)
	if err != nil {
		d.Tell = append(d.Tell, Event{corev1.EventTypeWarning, "FailedComputeMetricsReplicas", err.Error()})
		return
	}
	stable := h.stabilize(hpa.Spec.Behavior, seen.Replicas, wanted, now)
	d.say(autoscalingv2.AbleToScale, true, stable.reason, stable.message, now)
	limited := h.limit(hpa.Spec.Behavior, seen.Replicas, stable.n, least, most, now)
	d.say(autoscalingv2.ScalingLimited, limited.reason != "DesiredWithinRange", limited.reason, limited.message, now)
	switch d.Replicas = limited.n; {
	case d.Replicas > seen.Replicas:
		d.Why = name + " above target"
	case d.Replicas < seen.Replicas:
		d.Why = "All metrics below target"
	}
}

// propose is the highest number that a metric wants. Metrics that cannot be read
// hold back from having fewer, but not from having more.
func (d *Decision) propose(hpa *autoscalingv2.HorizontalPodAutoscaler, seen Seen, now time.Time) (int32, string, error) {
	var highest int32
	var name string
	var first error
	var firstReason string
	invalid := 0
	d.Status.CurrentMetrics = nil
	for i := range hpa.Spec.Metrics {
		m := metric{&hpa.Spec.Metrics[i], seen, tolerances(hpa), now}
		n, status, err := m.propose(seen.Readings[i])
		if err != nil {
			if invalid++; first == nil {
				first, firstReason = err, m.failure()
			}
			d.Tell = append(d.Tell, Event{corev1.EventTypeWarning, m.failure(), err.Error()})
			continue
		}
		d.Status.CurrentMetrics = append(d.Status.CurrentMetrics, status)
		if name == "" || n > highest {
			highest, name = n, m.name()
		}
	}
	if first != nil && (name == "" || highest < seen.Replicas) {
		d.say(autoscalingv2.ScalingActive, false, firstReason, "the HPA was unable to compute the replica count: "+first.Error(), now)
		return 0, "", fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", invalid, len(hpa.Spec.Metrics), first)
	}
	if name == "" {
		return 0, "", errors.New("no metrics are given")
	}
	d.say(autoscalingv2.ScalingActive, true, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+name, now)
	return highest, name, nil
}

func tolerances(hpa *autoscalingv2.HorizontalPodAutoscaler) tolerance {
	t := tolerance{defaultTolerance, defaultTolerance}
	b := hpa.Spec.Behavior
	if b != nil && b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
		t.up = b.ScaleUp.Tolerance.AsApproximateFloat64()
	}
	if b != nil && b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
		t.down = b.ScaleDown.Tolerance.AsApproximateFloat64()
	}
	return t
}

// say sets a condition.
func (d *Decision) say(kind autoscalingv2.HorizontalPodAutoscalerConditionType, truth bool, reason, message string, now time.Time) {
	c := autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now)}
	if truth {
		c.Status = corev1.ConditionTrue
	}
	for i := range d.Status.Conditions {
		if old := &d.Status.Conditions[i]; old.Type == kind {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			*old = c
			return
		}
	}
	d.Status.Conditions = append(d.Status.Conditions, c)
}
