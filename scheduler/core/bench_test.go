package core_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/scheduler/core"
)

const benchNodes = 5000

// BenchmarkDecide is one decision and placement on 5,000 nodes in three zones,
// of pods of 20 controllers that come in turn.
func BenchmarkDecide(b *testing.B) {
	app := func(i int) string { return fmt.Sprint("app", i%20) }
	like := func(i int) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app(i)}}
	}
	for _, c := range []struct {
		name   string
		change func(i int, p *corev1.Pod)
	}{
		{"plain", func(int, *corev1.Pod) {}},
		{"owned", func(i int, p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(app(i)), Controller: ptr.To(true)}}
		}},
		{"required anti-affinity", func(i int, p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				{TopologyKey: corev1.LabelHostname, LabelSelector: like(i)}}}}
		}},
		{"zone spread", func(i int, p *corev1.Pod) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{
				{TopologyKey: corev1.LabelTopologyZone, MaxSkew: 1, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: like(i)}}
		}},
		{"preferred affinity", func(i int, p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{
				PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
					{Weight: 10, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelTopologyZone, LabelSelector: like(i)}}}},
				PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
					{Weight: 10, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: like(i)}}}},
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			pods := make([]*core.Pod, benchNodes*10)
			for i := range pods {
				pods[i] = prepared(b, pod(fmt.Sprint("p", i), "100m", func(p *corev1.Pod) {
					p.Labels = map[string]string{"app": app(i)}
					c.change(i, p)
				}))
			}
			var s *core.State
			var used time.Duration
			b.ResetTimer()
			began := cpu(b)
			for i := range b.N {
				if i%len(pods) == 0 {
					b.StopTimer()
					used += cpu(b) - began
					s = benchState()
					began = cpu(b)
					b.StartTimer()
				}
				p := pods[i%len(pods)]
				d := s.Decide(p)
				if d.Node == "" {
					b.Fatal(d.Message())
				}
				s.Place(p, d.Node)
			}
			used += cpu(b) - began
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(float64(b.N)/used.Seconds(), "decisions/cpu-s")
		})
	}
}

// cpu is what the process has used, garbage collection included: on a machine
// that others use it says more than the time.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchState() *core.State {
	s := core.NewState(1)
	for i := range benchNodes {
		s.SetNode(node(fmt.Sprint("n", i), "4", "32Gi", func(n *corev1.Node) {
			n.Labels[corev1.LabelTopologyZone] = fmt.Sprint("zone", i%3)
		}))
	}
	return s
}

// BenchmarkPreempt is a search for victims on 5,000 full nodes.
func BenchmarkPreempt(b *testing.B) {
	s := benchState()
	for i := range benchNodes * 10 {
		s.Place(prepared(b, pod(fmt.Sprint("p", i), "400m")), fmt.Sprint("n", i%benchNodes))
	}
	p := prepared(b, pod("urgent", "500m", func(p *corev1.Pod) { p.Spec.Priority = ptr.To(int32(1)) }))
	refused := s.Decide(p)
	b.ReportAllocs()
	for b.Loop() {
		if plan := s.Preempt(p, refused); len(plan.Victims) != 2 {
			b.Fatal(plan.Message())
		}
	}
}

// BenchmarkNewPod is what is computed once for each pod.
func BenchmarkNewPod(b *testing.B) {
	p := pod("p", "100m")
	b.ReportAllocs()
	for b.Loop() {
		prepared(b, p)
	}
}
