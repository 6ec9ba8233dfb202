package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headway-sh/headway/test/bench/figure"
	"github.com/headway-sh/headway/test/bench/rig"
)

// batch is how many pods live at once while cycles are counted.
const batch = 20

// traces are what a node has of pods in the kernel and in its processes.
type traces map[string]int

// measureCycles makes and deletes pods with volumes and counts what they leave.
func measureCycles(ctx context.Context, b *bench) error {
	a, err := b.apart(ctx)
	if err != nil {
		return err
	}
	w, err := watchPods(ctx, a.client)
	if err != nil {
		return err
	}
	defer w.Stop()
	// The first make what stays: chains, pools, the tiers' groups.
	if err := a.cycle(ctx, w, 0, batch); err != nil {
		return err
	}
	before, err := a.traces(ctx)
	if err != nil {
		return err
	}
	for at := 0; at < b.cycles; at += batch {
		if err := a.cycle(ctx, w, at+batch, min(batch, b.cycles-at)); err != nil {
			return err
		}
	}
	after, err := a.traces(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"mounts", "network namespaces", "links", "rules", "control groups", "snapshots",
		"descriptors of the agent", "descriptors of containerd", "descriptors of the log keeper", "threads of the agent"} {
		b.report.Mean("after pod cycles, "+name, fmt.Sprintf("%d → %d", before[name], after[name]), b.cycles, "", "flat")
	}
	return nil
}

// cycle makes pods that have of everything, waits until they run, and deletes
// them.
func (a *apart) cycle(ctx context.Context, w *rig.Watcher, from, n int) error {
	running := map[string]bool{}
	for i := range n {
		pod := a.pod(fmt.Sprintf("cycle-%d", from+i))
		limit := resource.MustParse("1Mi")
		pod.Spec.Volumes = []corev1.Volume{
			{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}}},
			{Name: "image", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: a.image, PullPolicy: corev1.PullNever}}},
		}
		c := &pod.Spec.Containers[0]
		c.VolumeMounts = []corev1.VolumeMount{{Name: "disk", MountPath: "/disk", SubPath: "below"}, {Name: "memory", MountPath: "/memory"}, {Name: "image", MountPath: "/image"}}
		c.Ports = []corev1.ContainerPort{{ContainerPort: 8080, HostPort: int32(20000 + (from+i)%1000)}}
		if err := a.client.Create(ctx, pod); err != nil {
			return err
		}
	}
	if _, err := w.Next(ctx, "the pods of a cycle", func(s rig.Seen) bool {
		if podReady(s.Object.(*corev1.Pod)) {
			running[s.Object.GetName()] = true
		}
		return len(running) == n
	}); err != nil {
		return err
	}
	return a.clearPods(ctx)
}

// traces counts, once the node has come to rest.
func (a *apart) traces(ctx context.Context) (traces, error) {
	if err := wait(ctx, settleFor); err != nil {
		return nil, err
	}
	all := traces{}
	count := func(name, path string) error {
		entries, err := os.ReadDir(path)
		all[name] = len(entries)
		return err
	}
	containerd, err := figure.Find("containerd", "--config", a.nodeDir)
	if err != nil {
		return nil, err
	}
	keeper, err := figure.Find("logkeeper", a.nodeDir)
	if err != nil {
		return nil, err
	}
	for name, path := range map[string]string{
		"descriptors of the agent":      fmt.Sprintf("/proc/%d/fd", a.agent.Process.Pid),
		"threads of the agent":          fmt.Sprintf("/proc/%d/task", a.agent.Process.Pid),
		"descriptors of containerd":     fmt.Sprintf("/proc/%d/fd", containerd),
		"descriptors of the log keeper": fmt.Sprintf("/proc/%d/fd", keeper),
		"links":                         "/sys/class/net",
	} {
		if err := count(name, path); err != nil {
			return nil, err
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", a.agent.Process.Pid))
	if err != nil {
		return nil, err
	}
	all["mounts"] = bytes.Count(mounts, []byte("\n"))
	all["network namespaces"] = strings.Count(string(mounts), "net:[")
	rules, err := exec.CommandContext(ctx, "iptables-save").Output()
	if err != nil {
		return nil, fmt.Errorf("iptables-save: %w", err)
	}
	all["rules"] = bytes.Count(rules, []byte("\n"))
	for _, pattern := range []string{"/sys/fs/cgroup/*/headway/*/pod*", "/sys/fs/cgroup/headway/*/pod*"} {
		groups, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		all["control groups"] += len(groups)
	}
	snapshots, err := filepath.Glob(filepath.Join(a.nodeDir, "containerd", "root", "io.containerd.snapshotter.v1.overlayfs", "snapshots", "*"))
	if err != nil {
		return nil, err
	}
	all["snapshots"] = len(snapshots)
	return all, nil
}
