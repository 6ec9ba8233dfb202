package status_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestCompute(t *testing.T) {
	t.Parallel()
	always, never := corev1.RestartPolicyAlways, corev1.RestartPolicyNever
	run := func() *status.Container {
		return &status.Container{ID: "1", State: runtime.StateRunning, StartedUp: true, Ready: true}
	}
	end := func(code int) *status.Container {
		return &status.Container{ID: "1", State: runtime.StateExited, ExitCode: code}
	}
	sidecar := corev1.ContainerRestartPolicyAlways
	for name, tc := range map[string]struct {
		policy corev1.RestartPolicy
		init   []corev1.Container
		have   map[string]*status.Container
		change func(*status.Observed)
		phase  corev1.PodPhase
		state  string // of container a: reason of waiting or of its end, or running
		ready  string // reason of an unready pod
	}{
		"new":               {always, nil, nil, nil, corev1.PodPending, "ContainerCreating", "ContainersNotReady"},
		"half there":        {always, nil, map[string]*status.Container{"a": run()}, nil, corev1.PodPending, "running", "ContainersNotReady"},
		"running":           {always, nil, map[string]*status.Container{"a": run(), "b": run()}, nil, corev1.PodRunning, "running", ""},
		"unready":           {always, nil, map[string]*status.Container{"a": {ID: "1", State: runtime.StateRunning, StartedUp: true}, "b": run()}, nil, corev1.PodRunning, "running", "ContainersNotReady"},
		"initializing":      {always, []corev1.Container{{Name: "i"}}, map[string]*status.Container{"i": run()}, nil, corev1.PodPending, "PodInitializing", "ContainersNotReady"},
		"init failed":       {never, []corev1.Container{{Name: "i"}}, map[string]*status.Container{"i": end(1)}, nil, corev1.PodFailed, "PodInitializing", "PodFailed"},
		"init tries again":  {always, []corev1.Container{{Name: "i"}}, map[string]*status.Container{"i": end(1)}, nil, corev1.PodPending, "PodInitializing", "ContainersNotReady"},
		"succeeded":         {never, nil, map[string]*status.Container{"a": end(0), "b": end(0)}, nil, corev1.PodSucceeded, "Completed", "PodCompleted"},
		"sidecar still on":  {never, []corev1.Container{{Name: "i", RestartPolicy: &sidecar}}, map[string]*status.Container{"i": run(), "a": end(0), "b": end(0)}, nil, corev1.PodRunning, "Completed", "ContainersNotReady"},
		"failed":            {never, nil, map[string]*status.Container{"a": end(1), "b": end(0)}, nil, corev1.PodFailed, "Error", "PodFailed"},
		"about to restart":  {always, nil, map[string]*status.Container{"a": end(1), "b": run()}, nil, corev1.PodRunning, "Error", "ContainersNotReady"},
		"oom":               {always, nil, map[string]*status.Container{"a": {ID: "1", State: runtime.StateExited, ExitCode: 137, OOMKilled: true}, "b": run()}, nil, corev1.PodRunning, "OOMKilled", "ContainersNotReady"},
		"crash loop":        {always, nil, map[string]*status.Container{"a": {ID: "1", State: runtime.StateExited, ExitCode: 1, Waiting: &status.Waiting{Reason: "CrashLoopBackOff"}}, "b": run()}, nil, corev1.PodRunning, "CrashLoopBackOff", "ContainersNotReady"},
		"rejected":          {always, nil, nil, func(o *status.Observed) { o.Failure = &status.Failure{Reason: "OutOfcpu"} }, corev1.PodFailed, "", "PodFailed"},
		"stopped":           {always, nil, map[string]*status.Container{"a": end(0), "b": end(0)}, func(o *status.Observed) { o.Stopped = true }, corev1.PodSucceeded, "Completed", "PodCompleted"},
		"stopped, one dead": {always, nil, map[string]*status.Container{"a": end(0)}, func(o *status.Observed) { o.Stopped = true }, corev1.PodFailed, "Completed", "PodFailed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: tc.policy, InitContainers: tc.init, Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}}}
			o := &status.Observed{Containers: tc.have, SandboxReady: true, StartTime: now}
			if tc.change != nil {
				tc.change(o)
			}
			s := status.Compute(pod, o, "test", now)
			if s.Phase != tc.phase {
				t.Errorf("phase %s, want %s", s.Phase, tc.phase)
			}
			if got := stateOf(&s); got != tc.state {
				t.Errorf("state %q, want %q", got, tc.state)
			}
			for _, c := range s.Conditions {
				if c.Type == corev1.PodReady && (c.Reason != tc.ready || (c.Status == corev1.ConditionTrue) != (tc.ready == "")) {
					t.Errorf("ready %s %q, want reason %q", c.Status, c.Reason, tc.ready)
				}
			}
			// A second look changes nothing, and times only move with statuses.
			pod.Status = s
			if again := status.Compute(pod, o, "test", now.Add(time.Hour)); len(again.Conditions) != len(s.Conditions) || !again.Conditions[0].LastTransitionTime.Equal(&s.Conditions[0].LastTransitionTime) {
				t.Errorf("times have moved: %+v", again.Conditions)
			}
		})
	}
}

func stateOf(s *corev1.PodStatus) string {
	if len(s.ContainerStatuses) == 0 {
		return ""
	}
	switch st := s.ContainerStatuses[0].State; {
	case st.Running != nil:
		return "running"
	case st.Waiting != nil:
		return st.Waiting.Reason
	default:
		return st.Terminated.Reason
	}
}

func TestQOSClass(t *testing.T) {
	t.Parallel()
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	for name, tc := range map[string]struct {
		requests, limits corev1.ResourceList
		want             corev1.PodQOSClass
	}{
		"none":        {nil, nil, corev1.PodQOSBestEffort},
		"zero":        {list("0", "0"), nil, corev1.PodQOSBestEffort},
		"equal":       {list("1", "1"), list("1", "1"), corev1.PodQOSGuaranteed},
		"limits only": {nil, list("1", "1"), corev1.PodQOSGuaranteed},
		"less":        {list("1", "1"), list("2", "1"), corev1.PodQOSBurstable},
		"no limit":    {list("1", "1"), nil, corev1.PodQOSBurstable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: tc.requests, Limits: tc.limits}}}}}
			if got := status.QOSClass(pod); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
