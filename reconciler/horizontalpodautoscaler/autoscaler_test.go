package horizontalpodautoscaler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	hpa "github.com/headway-sh/headway/reconciler/horizontalpodautoscaler"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func autoscaler(least, most int32, metrics ...autoscalingv2.MetricSpec) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "hpa"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: &least, MaxReplicas: most, Metrics: metrics,
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}},
	}
}

func cpu(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}
}

func memory(each string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceMemory,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse(each))}}}
}

func queue(each string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "queue"},
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse(each))}}}
}

// pods asks for one CPU each and have been ready for an hour.
func pods(n int, change ...func(i int, p *corev1.Pod)) []*corev1.Pod {
	var all []*corev1.Pod
	for i := range n {
		since := metav1.NewTime(start.Add(-time.Hour))
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("p", i), Labels: map[string]string{"app": "web"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &since, Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: since}}}}
		for _, f := range change {
			f(i, p)
		}
		all = append(all, p)
	}
	return all
}

func used(values ...int64) hpa.Reading {
	r := hpa.Reading{Pods: map[string]hpa.Sample{}}
	for i, v := range values {
		if v >= 0 {
			r.Pods[fmt.Sprint("p", i)] = hpa.Sample{Value: v, At: start, Window: 15 * time.Second}
		}
	}
	return r
}

func TestDecide(t *testing.T) {
	t.Parallel()
	young := func(i int, p *corev1.Pod) {
		if i == 2 {
			since := metav1.NewTime(start.Add(-5 * time.Second))
			p.Status.StartTime, p.Status.Conditions[0].LastTransitionTime = &since, since
		}
	}
	pending := func(i int, p *corev1.Pod) {
		if i == 2 {
			p.Status.Phase = corev1.PodPending
		}
	}
	unasked := func(_ int, p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil }
	broken := hpa.Reading{Err: errors.New("no reading")}
	type want struct {
		Replicas        int32
		Active, Limited string
	}
	const valid, within = "ValidMetricFound", "DesiredWithinRange"
	for _, c := range []struct {
		name     string
		hpa      *autoscalingv2.HorizontalPodAutoscaler
		replicas int32
		pods     []*corev1.Pod
		readings []hpa.Reading
		want     want
	}{
		{"above the target", autoscaler(1, 9, cpu(50)), 3, pods(3), []hpa.Reading{used(700, 800, 900)}, want{5, valid, within}},
		{"within the tolerance", autoscaler(1, 9, cpu(50)), 3, pods(3), []hpa.Reading{used(540, 540, 540)}, want{3, valid, within}},
		{"each more than a value", autoscaler(1, 9, memory("100")), 2, pods(2), []hpa.Reading{used(150_000, 150_000)}, want{3, valid, within}},
		{"faster than the limit", autoscaler(1, 50, cpu(10)), 3, pods(3), []hpa.Reading{used(900, 900, 900)}, want{6, valid, "ScaleUpLimit"}},
		{"more than the most", autoscaler(1, 4, cpu(10)), 3, pods(3), []hpa.Reading{used(900, 900, 900)}, want{4, valid, "TooManyReplicas"}},
		{"a pod that starts is taken to use nothing", autoscaler(1, 9, cpu(50)), 3, pods(3, young), []hpa.Reading{used(900, 900, 900)}, want{4, valid, within}},
		{"a pending pod is taken to use nothing", autoscaler(1, 9, cpu(50)), 3, pods(3, pending), []hpa.Reading{used(700, 700, -1)}, want{3, valid, within}},
		{"a missing sample holds back from more", autoscaler(1, 9, cpu(50)), 3, pods(3), []hpa.Reading{used(900, 900, -1)}, want{4, valid, within}},
		{"a missing sample holds back from fewer", autoscaler(1, 9, cpu(50)), 3, pods(3), []hpa.Reading{used(400, 400, -1)}, want{3, valid, within}},
		{"the highest counts", autoscaler(1, 9, cpu(50), memory("100")), 3, pods(3), []hpa.Reading{used(500, 500, 500), used(170_000, 170_000, 170_000)}, want{6, valid, within}},
		{"what cannot be read does not keep from more", autoscaler(1, 9, cpu(50), queue("1")), 3, pods(3), []hpa.Reading{used(700, 800, 900), broken}, want{5, valid, within}},
		{"but from fewer", autoscaler(1, 9, cpu(50), queue("1")), 3, pods(3), []hpa.Reading{used(100, 100, 100), broken}, want{3, "FailedGetExternalMetric", ""}},
		{"nothing can be read", autoscaler(1, 9, cpu(50)), 3, pods(3), []hpa.Reading{broken}, want{3, "FailedGetResourceMetric", ""}},
		{"nothing is asked for", autoscaler(1, 9, cpu(50)), 3, pods(3, unasked), []hpa.Reading{used(1, 1, 1)}, want{3, "FailedGetResourceMetric", ""}},
		{"from zero", autoscaler(0, 9, queue("2")), 0, nil, []hpa.Reading{{Value: 5000}}, want{3, valid, within}},
		{"switched off", autoscaler(1, 9, cpu(50)), 0, nil, []hpa.Reading{broken}, want{0, "ScalingDisabled", ""}},
		{"above the most", autoscaler(1, 9, cpu(50)), 12, pods(12), []hpa.Reading{broken}, want{9, "", ""}},
		{"below the least", autoscaler(4, 9, cpu(50)), 3, pods(3), []hpa.Reading{broken}, want{4, "", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := hpa.Decide(c.hpa, hpa.Seen{Replicas: c.replicas, Status: int32(len(c.pods)), Pods: c.pods, Readings: c.readings}, &hpa.History{}, start)
			got := want{Replicas: d.Replicas}
			for _, k := range d.Status.Conditions {
				switch k.Type {
				case autoscalingv2.ScalingActive:
					got.Active = k.Reason
				case autoscalingv2.ScalingLimited:
					got.Limited = k.Reason
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
			if changes := d.Why != ""; changes != (d.Replicas != c.replicas) {
				t.Errorf("reason %q for %d replicas", d.Why, d.Replicas)
			}
		})
	}
}

// TestWindowsAndPolicies goes through a peak, step by step.
func TestWindowsAndPolicies(t *testing.T) {
	t.Parallel()
	a := autoscaler(1, 100, cpu(50))
	a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{
		ScaleUp: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](0), Policies: []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 2, PeriodSeconds: 60}}},
		ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](120), Policies: []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PercentScalingPolicy, Value: 50, PeriodSeconds: 60}, {Type: autoscalingv2.PodsScalingPolicy, Value: 1, PeriodSeconds: 60}}},
	}
	h, now, replicas := &hpa.History{}, start, 4
	for i, step := range []struct {
		after time.Duration
		load  int64 // of all, in thousandths
		want  int
	}{
		{0, 5000, 6},                   // 10 are wanted, two a minute allowed
		{15 * time.Second, 5000, 6},    // none left of this minute
		{50 * time.Second, 5000, 8},    // the next two
		{60 * time.Second, 4000, 8},    // enough
		{15 * time.Second, 1000, 8},    // 2 are wanted, but 8 were a moment ago
		{60 * time.Second, 1000, 8},    // and in the window still
		{60 * time.Second, 1000, 4},    // half of them
		{30 * time.Second, 1000, 4},    // not again in this minute
		{60 * time.Second, 1000, 2},    // half again
		{time.Hour, 1000, 2},           // as wanted
		{15 * time.Second, 100_000, 4}, // up at once
	} {
		now = now.Add(step.after)
		var all []int64
		for range replicas {
			all = append(all, step.load/int64(replicas))
		}
		d := hpa.Decide(a, hpa.Seen{Replicas: int32(replicas), Status: int32(replicas), Pods: pods(replicas), Readings: []hpa.Reading{used(all...)}}, h, now)
		if int(d.Replicas) != step.want {
			t.Fatalf("step %d: %d replicas, want %d", i, d.Replicas, step.want)
		}
		h.Done(int32(replicas), d.Replicas, now)
		replicas = int(d.Replicas)
	}
}

// TestDecisionsKeepTheirBounds has any load and any rules.
func TestDecisionsKeepTheirBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.Int32Range(1, 5).Draw(t, "least")
		a := autoscaler(least, least+rapid.Int32Range(0, 20).Draw(t, "more"), cpu(50))
		if rapid.Bool().Draw(t, "behavior") {
			rules := func(name string) *autoscalingv2.HPAScalingRules {
				return &autoscalingv2.HPAScalingRules{
					StabilizationWindowSeconds: ptr.To(rapid.Int32Range(0, 300).Draw(t, name+" window")),
					SelectPolicy:               ptr.To(rapid.SampledFrom([]autoscalingv2.ScalingPolicySelect{"Max", "Min", "Disabled"}).Draw(t, name+" choice")),
					Policies: []autoscalingv2.HPAScalingPolicy{
						{Type: autoscalingv2.PodsScalingPolicy, Value: rapid.Int32Range(1, 5).Draw(t, name+" pods"), PeriodSeconds: 60},
						{Type: autoscalingv2.PercentScalingPolicy, Value: rapid.Int32Range(1, 200).Draw(t, name+" percent"), PeriodSeconds: 30}},
				}
			}
			a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rules("up"), ScaleDown: rules("down")}
		}
		h, now := &hpa.History{}, start
		replicas := rapid.Int32Range(least, a.Spec.MaxReplicas).Draw(t, "replicas")
		for range 12 {
			now = now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "wait")) * time.Second)
			load := rapid.Int64Range(0, 2000).Draw(t, "load")
			var all []int64
			for range replicas {
				all = append(all, load)
			}
			d := hpa.Decide(a, hpa.Seen{Replicas: replicas, Status: replicas, Pods: pods(int(replicas)), Readings: []hpa.Reading{used(all...)}}, h, now)
			if d.Replicas < least || d.Replicas > a.Spec.MaxReplicas {
				t.Fatalf("%d replicas of %d to %d", d.Replicas, least, a.Spec.MaxReplicas)
			}
			if d.Replicas > replicas && load <= 500 {
				t.Fatalf("from %d to %d at a load below the target", replicas, d.Replicas)
			}
			if b := a.Spec.Behavior; b != nil && (d.Replicas > replicas && *b.ScaleUp.SelectPolicy == "Disabled" || d.Replicas < replicas && *b.ScaleDown.SelectPolicy == "Disabled") {
				t.Fatalf("from %d to %d though that is disabled", replicas, d.Replicas)
			}
			h.Done(replicas, d.Replicas, now)
			replicas = d.Replicas
		}
	})
}

// TestScalesByWhatPodsUse goes through the API with metrics as a server of
// metrics.k8s.io gives them, and without.
func TestScalesByWhatPodsUse(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start)
	labels := map[string]string{"app": "web"}
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2),
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}}}
	a := autoscaler(1, 9, cpu(50))
	objects := []client.Object{web, a}
	for _, p := range pods(2) {
		objects = append(objects, p)
	}
	api := fakecluster.New(clk, objects...)
	served := false
	c := interceptor.NewClient(api, interceptor.Funcs{
		SubResourceGet: func(ctx context.Context, c client.Client, sub string, o, scale client.Object, options ...client.SubResourceGetOption) error {
			err := c.SubResource(sub).Get(ctx, o, scale, options...)
			scale.(*autoscalingv1.Scale).Status.Selector = "app=web" // the emulator writes it in another form
			return err
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			u, ok := list.(*unstructured.UnstructuredList)
			if !ok {
				return c.List(ctx, list, options...)
			}
			if !served {
				return errors.New("not served")
			}
			for i := range 2 {
				u.Items = append(u.Items, unstructured.Unstructured{Object: map[string]any{
					"metadata": map[string]any{"name": fmt.Sprint("p", i)}, "timestamp": start.Format(time.RFC3339), "window": "15s",
					"containers": []any{map[string]any{"name": "c", "usage": map[string]any{"cpu": "800m", "memory": "1Mi"}}},
				}})
			}
			return nil
		},
	})
	seen := &record.FakeRecorder{Events: make(chan string, 10)}
	r := hpa.NewReconciler(controller.Deps{Client: c, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: seen})
	look := func() {
		t.Helper()
		result, err := r.Reconcile(t.Context(), controller.Named("shop", "web"))
		if err != nil || result.RequeueAfter != 15*time.Second {
			t.Fatalf("%v, looks again after %s", err, result.RequeueAfter)
		}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(a), a); err != nil {
			t.Fatal(err)
		}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(web), web); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if c := a.Status.Conditions[1]; *web.Spec.Replicas != 2 || c.Type != autoscalingv2.ScalingActive || c.Reason != "FailedGetResourceMetric" {
		t.Errorf("without metrics: %d replicas, %+v", *web.Spec.Replicas, c)
	}
	<-seen.Events
	<-seen.Events
	served = true
	look()
	if *web.Spec.Replicas != 4 || a.Status.DesiredReplicas != 4 || a.Status.LastScaleTime == nil || *a.Status.CurrentMetrics[0].Resource.Current.AverageUtilization != 80 {
		t.Errorf("%d replicas, status %+v", *web.Spec.Replicas, a.Status)
	}
	if event, want := <-seen.Events, "Normal SuccessfulRescale New size: 4; reason: cpu resource utilization (percentage of request) above target"; event != want {
		t.Errorf("event %q, want %q", event, want)
	}
}
