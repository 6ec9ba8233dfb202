package disruption_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/disruption"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func budget(least, most *intstr.IntOrString, change ...func(b *policyv1.PodDisruptionBudget)) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Generation: 1}, Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: least, MaxUnavailable: most, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	for _, f := range change {
		f(b)
	}
	return b
}

func pod(name string, change ...func(p *corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func unready(p *corev1.Pod) { p.Status.Conditions = nil }

func going(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(start)) }

func ownedBy(version, kind, name string) func(p *corev1.Pod) {
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: name, UID: types.UID(name), Controller: ptr.To(true)}}
	}
}

func disrupted(name string, ago time.Duration) func(b *policyv1.PodDisruptionBudget) {
	return func(b *policyv1.PodDisruptionBudget) {
		b.Status.DisruptedPods = map[string]metav1.Time{name: metav1.NewTime(start.Add(-ago))}
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	number := func(n int) *intstr.IntOrString { return ptr.To(intstr.FromInt(n)) }
	percent := func(s string) *intstr.IntOrString { return ptr.To(intstr.FromString(s)) }
	three := []*corev1.Pod{pod("a"), pod("b"), pod("c")}
	type want struct {
		Expected, Desired, Healthy, Allowed int32
		Noted, Late                         int
		Reason                              string
		After                               time.Duration
	}
	for _, c := range []struct {
		name   string
		budget *policyv1.PodDisruptionBudget
		pods   []*corev1.Pod
		scales []int32
		want   want
	}{
		{"at least two", budget(number(2), nil), three, nil, want{Expected: 3, Desired: 2, Healthy: 3, Allowed: 1, Reason: "SufficientPods"}},
		{"one is not ready", budget(number(2), nil), []*corev1.Pod{pod("a"), pod("b"), pod("c", unready)}, nil, want{Expected: 3, Desired: 2, Healthy: 2, Reason: "InsufficientPods"}},
		{"one goes", budget(number(2), nil), []*corev1.Pod{pod("a"), pod("b"), pod("c", going)}, nil, want{Expected: 3, Desired: 2, Healthy: 2, Reason: "InsufficientPods"}},
		{"at least a part", budget(percent("50%"), nil), three, []int32{5}, want{Expected: 5, Desired: 3, Healthy: 3, Reason: "InsufficientPods"}},
		{"at most one away", budget(nil, number(1)), three, []int32{3}, want{Expected: 3, Desired: 2, Healthy: 3, Allowed: 1, Reason: "SufficientPods"}},
		{"at most a part away, rounded up", budget(nil, percent("10%")), three, []int32{3}, want{Expected: 3, Desired: 2, Healthy: 3, Allowed: 1, Reason: "SufficientPods"}},
		{"all may go", budget(nil, percent("100%")), three, []int32{1, 2}, want{Expected: 3, Healthy: 3, Allowed: 3, Reason: "SufficientPods"}},
		{"no pods", budget(number(0), nil), nil, nil, want{Reason: "InsufficientPods"}},
		{"an eviction is under way", budget(number(1), nil, disrupted("a", time.Minute)), three, nil,
			want{Expected: 3, Desired: 1, Healthy: 2, Allowed: 1, Noted: 1, Reason: "SufficientPods", After: time.Minute + 1}},
		{"an eviction that did not come", budget(number(1), nil, disrupted("a", 3*time.Minute)), three, nil,
			want{Expected: 3, Desired: 1, Healthy: 3, Allowed: 2, Late: 1, Reason: "SufficientPods"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := disruption.Seen{Pods: c.pods}
			for i, n := range c.scales {
				seen.Scales = append(seen.Scales, disruption.Scale{UID: types.UID(fmt.Sprint(i)), Replicas: n})
			}
			s, after, late, err := disruption.Decide(c.budget, seen, start)
			if err != nil {
				t.Fatal(err)
			}
			got := want{s.ExpectedPods, s.DesiredHealthy, s.CurrentHealthy, s.DisruptionsAllowed, len(s.DisruptedPods), len(late), s.Conditions[0].Reason, after}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNeverFewerThanDesired spends what a status allows, and counts.
func TestNeverFewerThanDesired(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var pods []*corev1.Pod
		healthy := 0
		for i, kind := range rapid.SliceOfN(rapid.IntRange(0, 2), 0, 12).Draw(t, "pods") {
			p := pod(fmt.Sprint(i))
			switch kind {
			case 0:
				healthy++
			case 1:
				unready(p)
			default:
				going(p)
			}
			pods = append(pods, p)
		}
		value := rapid.SampledFrom([]intstr.IntOrString{intstr.FromInt(0), intstr.FromInt(3), intstr.FromString("0%"), intstr.FromString("34%"), intstr.FromString("100%")}).Draw(t, "value")
		b := budget(&value, nil)
		if rapid.Bool().Draw(t, "unavailable") {
			b = budget(nil, &value)
		}
		n := int32(len(pods))
		s, _, _, err := disruption.Decide(b, disruption.Seen{Pods: pods, Scales: []disruption.Scale{{Replicas: n}}}, start)
		if err != nil {
			t.Fatal(err)
		}
		if left := int32(healthy) - s.DisruptionsAllowed; s.DisruptionsAllowed > 0 && left < s.DesiredHealthy {
			t.Fatalf("%d of %d healthy pods left, %d desired", left, healthy, s.DesiredHealthy)
		}
		if s.DisruptionsAllowed < 0 || n > 0 && int32(healthy) > s.DesiredHealthy && s.DisruptionsAllowed != int32(healthy)-s.DesiredHealthy {
			t.Fatalf("%d allowed: %d healthy, %d desired", s.DisruptionsAllowed, healthy, s.DesiredHealthy)
		}
	})
}

func TestScales(t *testing.T) {
	t.Parallel()
	template := metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](4), Selector: &template}}
	set := func(name string) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "web", Controller: ptr.To(true)}}}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](9), Selector: &template}}
	}
	db := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "db"}, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](3), Selector: &template}}
	for _, c := range []struct {
		name   string
		pods   []client.Object
		want   policyv1.PodDisruptionBudgetStatus
		reason string
	}{
		{"a Deployment and a StatefulSet", []client.Object{pod("a", ownedBy("apps/v1", "ReplicaSet", "old")), pod("b", ownedBy("apps/v1", "ReplicaSet", "new")), pod("c", ownedBy("apps/v1", "StatefulSet", "db"))},
			policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, ExpectedPods: 7, DesiredHealthy: 2, CurrentHealthy: 3, DisruptionsAllowed: 1}, "SufficientPods"},
		{"without a controller", []client.Object{pod("a")}, policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1}, "InsufficientPods"},
		{"of a controller without a scale", []client.Object{pod("a", ownedBy("batch/v1", "Job", "work"))}, policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1}, "SyncFailed"},
		{"of one that has gone", []client.Object{pod("a", ownedBy("apps/v1", "ReplicaSet", "gone"))}, policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1}, "InsufficientPods"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clk := clocktesting.NewFakeClock(start)
			work := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "work", UID: "work"}}
			b := budget(nil, ptr.To(intstr.FromInt(5)))
			api := fakecluster.New(clk, append(c.pods, web.DeepCopy(), set("old"), set("new"), db.DeepCopy(), work, b)...)
			r := &disruption.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}}
			_, err := r.Reconcile(t.Context(), disruption.Request{Namespace: "shop", Name: "web"})
			if (err != nil) != (c.reason == "SyncFailed") {
				t.Errorf("error %v", err)
			}
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, b.Status, cmpopts.IgnoreFields(policyv1.PodDisruptionBudgetStatus{}, "Conditions")); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			if got := b.Status.Conditions[0].Reason; got != c.reason {
				t.Errorf("reason %q, want %q", got, c.reason)
			}
		})
	}
}

func TestDisruptionsThatDoNotComeAreTakenBack(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(start)
	p := pod("a", func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", LastTransitionTime: metav1.NewTime(start)})
	})
	api := fakecluster.New(clk, p)
	r := &disruption.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}}
	result, err := r.Reconcile(t.Context(), disruption.Request{Namespace: "shop", Name: "a", Pod: true})
	if err != nil || result.RequeueAfter != 2*time.Minute {
		t.Fatalf("%v, looks again after %s", err, result.RequeueAfter)
	}
	clk.Step(2 * time.Minute)
	if _, err := r.Reconcile(t.Context(), disruption.Request{Namespace: "shop", Name: "a", Pod: true}); err != nil {
		t.Fatal(err)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	if c := p.Status.Conditions[1]; c.Status != corev1.ConditionFalse {
		t.Errorf("condition %+v", c)
	}
}
