package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/bench/figure"
	"github.com/headway-sh/headway/test/bench/rig"
)

const (
	singles   = 60
	crowd     = 100
	crowds    = 3
	atOnce    = 8 // containers that the floor starts at a time
	settleFor = 3 * time.Second
	// restFor is until an idle agent has given back what a burst has left.
	restFor = 75 * time.Second
)

// measureSingles times pods one after the other, from before the creation until
// a watch sees the pod ready, and what the agent has used for each.
func measureSingles(ctx context.Context, b *bench) error {
	a, err := b.apart(ctx)
	if err != nil {
		return err
	}
	w, err := watchPods(ctx, a.client)
	if err != nil {
		return err
	}
	defer w.Stop()
	floor, err := newFloors(ctx, a.nodeDir, a.image)
	if err != nil {
		return err
	}
	defer floor.runtime.Close()
	before, err := figure.CPUTime(a.agent.Process.Pid)
	if err != nil {
		return err
	}
	var all []time.Duration
	for i := range singles {
		name := fmt.Sprintf("single-%d", i)
		begin := time.Now()
		if err := a.client.Create(ctx, a.pod(name)); err != nil {
			return err
		}
		at, err := w.Await(ctx, name, func(o client.Object) bool { return o.GetName() == name && podReady(o.(*corev1.Pod)) })
		if err != nil {
			return err
		}
		all = append(all, at.Sub(begin))
		if err := errors.Join(rig.Settled(ctx, a.agent.Process.Pid), rig.Settled(ctx, a.cmd.Process.Pid)); err != nil {
			return err
		}
		if err := floor.take(ctx); err != nil {
			return err
		}
	}
	after, err := figure.CPUTime(a.agent.Process.Pid)
	if err != nil {
		return err
	}
	b.report.Times("pod created → Ready seen by a watch", all, "Kubernetes 1.36: 0.69 s", "≤ 150 ms p50, ≤ 350 ms p99")
	b.report.Times("  containerd + runc alone, in between", floor.all, "70–90 ms", "")
	b.report.Mean("  CPU time of the agent for each", figure.Milliseconds((after-before)/singles), singles, "", "")
	return a.clearPods(ctx)
}

// measureCrowd times a hundred pods at once, then the memory that they cost the
// agent, and then how fast the API knows of the death of each.
func measureCrowd(ctx context.Context, b *bench) error {
	a, err := b.apart(ctx)
	if err != nil {
		return err
	}
	w, err := watchPods(ctx, a.client)
	if err != nil {
		return err
	}
	defer w.Stop()
	floor, err := newFloors(ctx, a.nodeDir, a.image)
	if err != nil {
		return err
	}
	defer floor.runtime.Close()
	var rates, floors []float64
	for round := range crowds {
		if err := a.clearPods(ctx); err != nil {
			return err
		}
		if err := wait(ctx, settleFor); err != nil {
			return err
		}
		least, err := floor.crowd(ctx, crowd, atOnce)
		if err != nil {
			return err
		}
		floors = append(floors, crowd/least.Seconds())
		if err := wait(ctx, settleFor); err != nil {
			return err
		}
		if round == crowds-1 {
			if err := wait(ctx, b.rest); err != nil {
				return err
			}
			if err := a.memory("agent without pods", "", ""); err != nil {
				return err
			}
		}
		took, err := a.crowd(ctx, w, round)
		if err != nil {
			return err
		}
		rates = append(rates, crowd/took.Seconds())
	}
	b.report.Mean(fmt.Sprintf("%d pods at once, pods/s until all are Ready", crowd), perSecond(rates), crowds, "Kubernetes 1.36: 4–6/s on two nodes", "≥ 10")
	b.report.Mean("  containerd + runc alone, in between", perSecond(floors), crowds, "", "")
	if err := wait(ctx, b.rest); err != nil {
		return err
	}
	if err := a.memory(fmt.Sprintf("agent with %d pods", crowd), "kubelet 88 MB + kube-proxy 58 MB", "RSS ≤ 90 MB; RssAnon ≤ 35 MB"); err != nil {
		return err
	}
	return a.deaths(ctx, w, crowds-1)
}

func perSecond(rates []float64) string {
	said := make([]string, len(rates))
	for i, r := range rates {
		said[i] = fmt.Sprintf("%.1f", r)
	}
	return strings.Join(said, " ")
}

// crowd creates the pods and waits until each is ready.
func (a *apart) crowd(ctx context.Context, w *rig.Watcher, round int) (time.Duration, error) {
	begin := time.Now()
	failed := make(chan error, 1)
	go func() {
		var err error
		for i := range crowd {
			err = errors.Join(err, a.client.Create(ctx, a.pod(fmt.Sprintf("crowd-%d-%d", round, i))))
		}
		failed <- err
	}()
	prefix, ready := fmt.Sprintf("crowd-%d-", round), map[string]bool{}
	at, err := w.Next(ctx, "all pods of a crowd", func(s rig.Seen) bool {
		if pod := s.Object.(*corev1.Pod); !s.Deleted && strings.HasPrefix(pod.Name, prefix) && podReady(pod) {
			ready[pod.Name] = true
		}
		return len(ready) == crowd
	})
	if err := errors.Join(<-failed, err); err != nil {
		return 0, fmt.Errorf("%d pods are ready: %w", len(ready), err)
	}
	return at.Sub(begin), nil
}

var memories []int64 // RssAnon of the agent, as it was measured last

// memory reports what the agent has, and for each pod beyond what was measured
// before.
func (a *apart) memory(what, reference, aim string) error {
	total, anonymous, err := figure.Memory(a.agent.Process.Pid)
	if err != nil {
		return err
	}
	a.bench.report.Value(what+": RSS; RssAnon", figure.Megabytes(total)+"; "+figure.Megabytes(anonymous), reference, aim)
	if n := len(memories); n > 0 {
		a.bench.report.Value("  for each pod", fmt.Sprintf("%d KB", (anonymous-memories[n-1])*1024/1000/crowd), "", "≤ 150 KB")
	}
	memories = append(memories, anonymous)
	keeper, err := figure.Find("logkeeper", a.nodeDir)
	if err != nil {
		return err
	}
	if total, anonymous, err = figure.Memory(keeper); err != nil {
		return err
	}
	a.bench.report.Value("  log keeper: RSS; RssAnon", figure.Megabytes(total)+"; "+figure.Megabytes(anonymous), "", "")
	return nil
}

// deaths kills each container of a crowd and times until a watch sees that it
// has ended.
func (a *apart) deaths(ctx context.Context, w *rig.Watcher, round int) error {
	var all []time.Duration
	for i := range crowd {
		name := fmt.Sprintf("crowd-%d-%d", round, i)
		pod := &corev1.Pod{}
		if err := a.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, pod); err != nil {
			return err
		}
		pid, err := firstProcess(pod)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		at, err := w.Await(ctx, "the end of "+name, func(o client.Object) bool {
			s := o.(*corev1.Pod).Status.ContainerStatuses
			return o.GetName() == name && len(s) > 0 && s[0].State.Terminated != nil
		})
		if err != nil {
			return err
		}
		all = append(all, at.Sub(begin))
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	a.bench.report.Times("container dies → a watch says so", all, "kubelet: about 1 s", "≤ 30 ms p99")
	return a.clearPods(ctx)
}

// firstProcess finds the process of a pod's only container by its cgroup.
func firstProcess(pod *corev1.Pod) (int, error) {
	for _, pattern := range []string{"/sys/fs/cgroup/pids/headway/*/pod%s/*/cgroup.procs", "/sys/fs/cgroup/headway/*/pod%s/*/cgroup.procs"} {
		files, err := filepath.Glob(fmt.Sprintf(pattern, pod.UID))
		if err != nil {
			return 0, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return 0, err
			}
			if first, _, _ := strings.Cut(string(text), "\n"); first != "" {
				return strconv.Atoi(first)
			}
		}
	}
	return 0, fmt.Errorf("pod %s has no process", pod.Name)
}
