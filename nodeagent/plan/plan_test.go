package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func running() *status.Container {
	return &status.Container{ID: "1", State: runtime.StateRunning, StartedUp: true, Ready: true}
}

func exited(code, crashes int, ago time.Duration) *status.Container {
	return &status.Container{ID: "1", State: runtime.StateExited, ExitCode: code, Crashes: crashes, Finished: now.Add(-ago)}
}

func podOf(policy corev1.RestartPolicy, names ...string) *corev1.Pod {
	pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy}}
	always := corev1.ContainerRestartPolicyAlways
	for _, name := range names {
		switch name[0] {
		case 'i':
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name})
		case 's':
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name, RestartPolicy: &always})
		default:
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name})
		}
	}
	return pod
}

func TestMake(t *testing.T) {
	t.Parallel()
	always, never, onFailure := corev1.RestartPolicyAlways, corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure
	type containers = map[string]*status.Container
	short := int64(10)
	start := func(name string, attempt int) plan.Action {
		return plan.Action{Kind: plan.Start, Container: name, Attempt: attempt}
	}
	kill := func(name string, in time.Duration) plan.Action {
		return plan.Action{Kind: plan.Kill, Container: name, Deadline: now.Add(in)}
	}
	ending := &plan.Ending{Deadline: now.Add(7 * time.Second), Delete: true}
	for name, tc := range map[string]struct {
		pod    *corev1.Pod
		have   containers
		change func(*plan.Input)
		want   []plan.Action
		wake   time.Time
	}{
		"set up first":             {pod: podOf(always, "a"), change: func(in *plan.Input) { in.SetUp = false }, want: []plan.Action{{Kind: plan.SetUp}}},
		"set-up under way":         {pod: podOf(always, "a"), change: func(in *plan.Input) { in.SetUp, in.Busy = false, map[string]bool{"": true} }},
		"set-up waits":             {pod: podOf(always, "a"), change: func(in *plan.Input) { in.SetUp, in.Retry = false, now.Add(time.Second) }, wake: now.Add(time.Second)},
		"start all":                {pod: podOf(always, "a", "b"), want: []plan.Action{start("a", 0), start("b", 0)}},
		"all well":                 {pod: podOf(always, "a"), have: containers{"a": running()}},
		"being started":            {pod: podOf(always, "a"), change: func(in *plan.Input) { in.Busy = map[string]bool{"a": true} }},
		"first restart at once":    {pod: podOf(always, "a"), have: containers{"a": exited(0, 1, 0)}, want: []plan.Action{start("a", 1)}},
		"second waits":             {pod: podOf(always, "a"), have: containers{"a": exited(1, 2, 4*time.Second)}, wake: now.Add(6 * time.Second)},
		"never more than 5 min":    {pod: podOf(always, "a"), have: containers{"a": exited(1, 50, time.Minute)}, wake: now.Add(4 * time.Minute)},
		"done on failure only":     {pod: podOf(onFailure, "a", "b"), have: containers{"a": exited(0, 1, 0), "b": exited(2, 1, 0)}, want: []plan.Action{start("b", 1)}},
		"complete is torn down":    {pod: podOf(never, "a"), have: containers{"a": exited(3, 1, 0)}, want: []plan.Action{{Kind: plan.TearDown}}},
		"complete stays":           {pod: podOf(never, "a"), have: containers{"a": exited(3, 1, 0)}, change: func(in *plan.Input) { in.TornDown = true }},
		"init first":               {pod: podOf(always, "i1", "i2", "a"), want: []plan.Action{start("i1", 0)}},
		"init waits for its order": {pod: podOf(always, "i1", "i2", "a"), have: containers{"i1": running()}},
		"next init":                {pod: podOf(always, "i1", "i2", "a"), have: containers{"i1": exited(0, 1, 0)}, want: []plan.Action{start("i2", 0)}},
		"init is through":          {pod: podOf(always, "i1", "a"), have: containers{"i1": exited(0, 1, 0)}, want: []plan.Action{start("a", 0)}},
		"init again after reboot": {pod: podOf(always, "i1", "a"), have: containers{
			"i1": {ID: "1", State: runtime.StateExited, Stale: true}, "a": {ID: "2", State: runtime.StateExited, Stale: true, ExitCode: 137, Crashes: 1}},
			want: []plan.Action{start("i1", 1)}},
		"init failed for good":       {pod: podOf(never, "i1", "a"), have: containers{"i1": exited(1, 1, 0)}, want: []plan.Action{{Kind: plan.TearDown}}},
		"init failed once":           {pod: podOf(onFailure, "i1", "a"), have: containers{"i1": exited(1, 1, 0)}, want: []plan.Action{start("i1", 1)}},
		"sidecar not up yet":         {pod: podOf(always, "s1", "a"), have: containers{"s1": {ID: "1", State: runtime.StateRunning}}},
		"sidecar up":                 {pod: podOf(always, "s1", "a"), have: containers{"s1": running()}, want: []plan.Action{start("a", 0)}},
		"sidecar restarts alone":     {pod: podOf(always, "s1", "a"), have: containers{"s1": exited(0, 1, 0), "a": running()}, want: []plan.Action{start("s1", 1)}},
		"sidecar ends after the job": {pod: podOf(never, "s1", "a"), have: containers{"s1": running(), "a": exited(0, 1, 0)}, want: []plan.Action{kill("s1", 30*time.Second)}},
		"unhealthy": {pod: podOf(always, "a"), have: containers{"a": running()},
			change: func(in *plan.Input) {
				in.Unhealthy = map[string]plan.Verdict{"a": {Message: "liveness probe", Grace: time.Second}}
			},
			want: []plan.Action{{Kind: plan.Kill, Container: "a", Deadline: now.Add(time.Second), Reason: "Unhealthy", Message: "liveness probe"}}},
		"deleted": {pod: podOf(always, "s1", "a", "b"), have: containers{"s1": running(), "a": running(), "b": running()},
			change: func(in *plan.Input) { in.Ending = ending }, want: []plan.Action{kill("a", 7*time.Second), kill("b", 7*time.Second)}},
		"deleted, sidecars last first": {pod: podOf(always, "s1", "s2", "a"), have: containers{"s1": running(), "s2": running(), "a": exited(0, 1, 0)},
			change: func(in *plan.Input) { in.Ending = ending }, want: []plan.Action{kill("s2", 7*time.Second)}},
		"deleted while starting": {pod: podOf(always, "a"), change: func(in *plan.Input) { in.Ending, in.Busy = ending, map[string]bool{"a": true} }},
		"deleted, all ended":     {pod: podOf(always, "a"), have: containers{"a": exited(0, 1, 0)}, change: func(in *plan.Input) { in.Ending = ending }, want: []plan.Action{{Kind: plan.TearDown}}},
		"deleted, torn down": {pod: podOf(always, "a"), change: func(in *plan.Input) { in.Ending, in.TornDown = ending, true },
			want: []plan.Action{{Kind: plan.Finish}}},
		"too late": {pod: podOf(always, "a"), have: containers{"a": running()}, change: func(in *plan.Input) {
			in.Pod.Spec.ActiveDeadlineSeconds = &short
			in.Observed.StartTime = now.Add(-11 * time.Second)
		}, want: []plan.Action{{Kind: plan.Fail, Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline"}}},
		"not too late": {pod: podOf(always, "a"), have: containers{"a": running()}, change: func(in *plan.Input) {
			in.Pod.Spec.ActiveDeadlineSeconds = &short
			in.Observed.StartTime = now.Add(-time.Second)
		}, wake: now.Add(9 * time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			have := tc.have
			if have == nil {
				have = containers{}
			}
			in := plan.Input{Pod: tc.pod, Observed: &status.Observed{Containers: have}, Now: now, SetUp: true}
			if tc.change != nil {
				tc.change(&in)
			}
			got := plan.Make(in)
			if diff := cmp.Diff(tc.want, got.Actions); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if !got.Wake.Equal(tc.wake) {
				t.Errorf("wakes at %s, want %s", got.Wake, tc.wake)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	cpu := func(q string) *corev1.Pod {
		pod := podOf(corev1.RestartPolicyAlways, "a")
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
		return pod
	}
	port := func(ip string) *corev1.Pod {
		pod := podOf(corev1.RestartPolicyAlways, "a")
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, HostIP: ip}}
		return pod
	}
	node := plan.Node{Labels: map[string]string{"zone": "a"}, Allocatable: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourcePods: resource.MustParse("2")},
		Pods: []*corev1.Pod{cpu("1500m"), port("192.0.2.1")}}
	node.Pods = node.Pods[:1]
	selecting := cpu("1m")
	selecting.Spec.NodeSelector = map[string]string{"zone": "b"}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		node plan.Node
		want *status.Failure
	}{
		"fits":      {cpu("500m"), node, nil},
		"full":      {cpu("501m"), node, &status.Failure{Reason: "OutOfcpu", Message: "Pod was rejected: Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000"}},
		"selector":  {selecting, node, &status.Failure{Reason: "NodeAffinity", Message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}},
		"port":      {port(""), plan.Node{Pods: []*corev1.Pod{port("192.0.2.1")}}, &status.Failure{Reason: "NodePorts", Message: "Pod was rejected: Predicate NodePorts failed: host port 80/TCP is in use"}},
		"two ports": {port("192.0.2.2"), plan.Node{Pods: []*corev1.Pod{port("192.0.2.1")}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, plan.Admit(tc.pod, tc.node)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
