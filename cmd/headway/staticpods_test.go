package main

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPodsOfFilesAreJudgedAsByTheAPI fills in defaults and refuses what the API
// would.
func TestPodsOfFilesAreJudgedAsByTheAPI(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = "default", "web"
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "web"}}
	if err := asTheAPIWould(pod); err != nil {
		t.Fatal(err)
	}
	if c := pod.Spec.Containers[0]; c.ImagePullPolicy != corev1.PullAlways || pod.Spec.DNSPolicy != corev1.DNSClusterFirst || pod.Status.Phase != corev1.PodPending {
		t.Errorf("defaults are missing: %+v", pod)
	}
	pod.Spec.Containers[0].Name = "No Name"
	if err := asTheAPIWould(pod); err == nil || !strings.Contains(err.Error(), "spec.containers[0].name") {
		t.Errorf("refused with %v", err)
	}
}
