package kinds_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestPodStatusColumn checks READY, STATUS and RESTARTS as people know them.
func TestPodStatusColumn(t *testing.T) {
	t.Parallel()
	type cs = corev1.ContainerStatus
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := func(why string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: why}}
	}
	ended := func(why string, code int32) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: why, ExitCode: code}}
	}
	died := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.Time{Time: goldenTime}}}
	for _, tt := range []struct {
		name                    string
		pod                     func(p *corev1.Pod)
		ready, status, restarts string
	}{
		{"pending", func(*corev1.Pod) {}, "0/2", "Pending", "0"},
		{"running", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.ContainerStatuses = []cs{{Ready: true, State: running}, {State: running}}
		}, "1/2", "Running", "0"},
		{"crash loop", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.ContainerStatuses = []cs{{State: waiting("CrashLoopBackOff"), RestartCount: 3, LastTerminationState: died}, {Ready: true, State: running}}
		}, "1/2", "CrashLoopBackOff", "3 (5m ago)"},
		{"exit code", func(p *corev1.Pod) { p.Status.ContainerStatuses = []cs{{State: ended("", 7)}} }, "0/2", "ExitCode:7", "0"},
		{"completed", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodSucceeded
			p.Status.ContainerStatuses = []cs{{State: ended("Completed", 0)}, {State: ended("Completed", 0)}}
		}, "0/2", "Completed", "0"},
		{"half completed", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.ContainerStatuses = []cs{{State: ended("Completed", 0)}, {Ready: true, State: running}}
		}, "1/2", "NotReady", "0"},
		{"initializing", func(p *corev1.Pod) {
			p.Status.InitContainerStatuses = []cs{{Name: "init", State: running}}
		}, "0/2", "Init:0/1", "0"},
		{"init failed", func(p *corev1.Pod) {
			p.Status.InitContainerStatuses = []cs{{Name: "init", State: ended("Error", 1), RestartCount: 2}}
		}, "0/2", "Init:Error", "2"},
		{"init image", func(p *corev1.Pod) {
			p.Status.InitContainerStatuses = []cs{{Name: "init", State: waiting("ImagePullBackOff")}}
		}, "0/2", "Init:ImagePullBackOff", "0"},
		{"sidecar", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Spec.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
			p.Status.InitContainerStatuses = []cs{{Name: "init", Ready: true, Started: ptr.To(true), State: running, RestartCount: 1}}
			p.Status.ContainerStatuses = []cs{{Ready: true, State: running}, {Ready: true, State: running}}
		}, "3/3", "Running", "1"},
		{"terminating", func(p *corev1.Pod) {
			p.DeletionTimestamp = &metav1.Time{Time: goldenTime}
			p.Status.Phase = corev1.PodRunning
		}, "0/2", "Terminating", "0"},
		{"node lost", func(p *corev1.Pod) {
			p.DeletionTimestamp = &metav1.Time{Time: goldenTime}
			p.Status.Reason = "NodeLost"
		}, "0/2", "Unknown", "0"},
		{"evicted", func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted" }, "0/2", "Evicted", "0"},
		{"gated", func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "SchedulingGated"}}
		}, "0/2", "SchedulingGated", "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k, p := valid[*corev1.Pod](t, "pod")
			tt.pod(p)
			row := k.Row(p, goldenTime.Add(5*time.Minute))
			if diff := cmp.Diff([]any{tt.ready, tt.status, tt.restarts}, row[1:4]); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
