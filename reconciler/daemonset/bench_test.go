package daemonset_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/reconciler/daemonset"
)

// BenchmarkNext decides about a set on 5,000 nodes of which each has its pod.
func BenchmarkNext(b *testing.B) {
	s := daemonset.State{Set: set(), IsUpdate: func(*corev1.Pod) bool { return true }, Now: time.Unix(1, 0)}
	for i := range 5000 {
		name := fmt.Sprint("n", i)
		s.Nodes = append(s.Nodes, node(name))
		s.Pods = append(s.Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: name}})
	}
	for b.Loop() {
		if p := daemonset.Next(s); len(p.Create)+len(p.Delete) > 0 {
			b.Fatal("something to do")
		}
	}
}
