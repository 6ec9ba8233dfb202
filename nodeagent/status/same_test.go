package status_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/nodeagent/status"
)

func manyWords() *corev1.PodStatus {
	s := &corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.0.2", PodIPs: []corev1.PodIP{{IP: "10.1.0.2"}}}
	for _, c := range []corev1.PodConditionType{corev1.PodReady, corev1.PodInitialized, corev1.ContainersReady, corev1.PodScheduled} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1700000000, 0)})
	}
	s.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "web", Image: "example.com/web:v1", Ready: true,
		State:              corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Unix(1700000000, 0)}},
		AllocatedResources: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")},
	}}
	return s
}

func TestSame(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*corev1.PodStatus)
		want   bool
	}{
		"a copy": {func(*corev1.PodStatus) {}, true},
		"another way to write it": {func(s *corev1.PodStatus) {
			s.ContainerStatuses[0].AllocatedResources[corev1.ResourceCPU] = resource.MustParse("1000m")
		}, true},
		"none and an empty list": {func(s *corev1.PodStatus) { s.InitContainerStatuses = []corev1.ContainerStatus{} }, true},
		"another zone": {func(s *corev1.PodStatus) {
			s.Conditions[0].LastTransitionTime.Time = s.Conditions[0].LastTransitionTime.In(time.FixedZone("there", 3600))
		}, true},
		"a condition": {func(s *corev1.PodStatus) { s.Conditions[0].Status = corev1.ConditionFalse }, false},
		"a quantity": {func(s *corev1.PodStatus) {
			s.ContainerStatuses[0].AllocatedResources[corev1.ResourceCPU] = resource.MustParse("2")
		}, false},
		"a pointer": {func(s *corev1.PodStatus) { s.ContainerStatuses[0].State.Running = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := manyWords()
			test.change(s)
			if got := status.Same(manyWords(), s); got != test.want {
				t.Errorf("same: %v, want %v", got, test.want)
			}
		})
	}
}

func BenchmarkSame(b *testing.B) {
	one, other := manyWords(), manyWords()
	for b.Loop() {
		if !status.Same(one, other) {
			b.Fatal("not the same")
		}
	}
}
