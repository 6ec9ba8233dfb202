package core_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/scheduler/core"
)

// BenchmarkDecide is one decision and placement of pods of 20 controllers.
func BenchmarkDecide(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			pods := make([]*core.Pod, nodes*20)
			for i := range pods {
				pods[i] = prepared(b, pod(fmt.Sprint("p", i), "100m", func(p *corev1.Pod) {
					p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(fmt.Sprint("owner", i%20)), Controller: ptr.To(true)}}
				}))
			}
			var s *core.State
			b.ResetTimer()
			for i := range b.N {
				if i%len(pods) == 0 {
					b.StopTimer()
					s = core.NewState(1)
					for n := range nodes {
						s.SetNode(node(fmt.Sprint("n", n), "4", "32Gi"))
					}
					b.StartTimer()
				}
				p := pods[i%len(pods)]
				d := s.Decide(p)
				if d.Node == "" {
					b.Fatal(d.Message())
				}
				s.Place(p, d.Node)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
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
