package nodeagent

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/eviction"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

// Holding are the pods that hold something of the node: not those that have
// ended.
func (a *Agent) Holding() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, w := range a.all() {
		if s := w.shared.Load(); !s.ended {
			pods = append(pods, s.pod)
		}
	}
	return pods
}

// Leaving tells whether a pod is on its way out, or gone.
func (a *Agent) Leaving(uid types.UID) bool {
	w := a.worker(uid)
	return w == nil || w.shared.Load().leaving
}

// Evict fails a pod, whose containers have grace to end.
func (a *Agent) Evict(uid types.UID, reason, message string, grace time.Duration) {
	if w := a.worker(uid); w != nil {
		w.post(func() {
			if w.ending == nil {
				w.failIn(reason, message, grace)
			}
		})
	}
}

// Measure reads what a pod uses; disk: its files too.
func (a *Agent) Measure(ctx context.Context, pod *corev1.Pod, disk bool) eviction.Usage {
	whole := a.Cgroups.PodUsage(pod)
	u := eviction.Usage{Containers: map[string]eviction.Used{}, Volumes: map[string]int64{}}
	u.Memory, u.Pids = int64(whole.MemoryWorkingSet), int64(whole.Pids) //nolint:gosec // what a machine has
	w := a.worker(pod.UID)
	if w == nil {
		return u
	}
	for name, id := range w.shared.Load().ids {
		var c eviction.Used
		if s, err := a.Runtime.Stats(ctx, id); err == nil {
			c.Memory, c.Pids = int64(s.MemoryWorkingSet), int64(s.Pids) //nolint:gosec // what a machine has
		}
		if disk {
			if d, err := a.Runtime.DiskUsage(ctx, id); err == nil {
				c.Disk, c.Inodes = int64(d.Bytes), int64(d.Inodes) //nolint:gosec // what a machine has
			}
			bytes, inodes := usedBelow(filepath.Join(a.LogDir(pod), name))
			c.Disk, c.Inodes = c.Disk+bytes, c.Inodes+inodes
		}
		u.Disk, u.Inodes, u.Containers[name] = u.Disk+c.Disk, u.Inodes+c.Inodes, c
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if disk && v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault {
			bytes, inodes := usedBelow(filepath.Join(a.podDir(pod.UID), "volumes", v.Name))
			u.Volumes[v.Name], u.Disk, u.Inodes = bytes, u.Disk+bytes, u.Inodes+inodes
		}
	}
	return u
}

// usedBelow adds up what a directory holds on its own file system; what goes
// away meanwhile is not counted, and no link is followed.
func usedBelow(dir string) (bytes, inodes int64) {
	seen := map[uint64]bool{}
	var device uint64
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error { // it returns no error of its own
		if err != nil {
			return nil //nolint:nilerr // it has just been removed
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		s, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok:
			return nil
		case path == dir:
			device = s.Dev
			return nil
		case s.Dev != device && e.IsDir():
			return fs.SkipDir
		case s.Nlink > 1 && seen[s.Ino]:
			return nil
		}
		seen[s.Ino] = true
		bytes += s.Blocks * 512
		inodes++
		return nil
	})
	return bytes, inodes
}

// ImagesInUse are the IDs of the images that pods of this node have or wait for.
func (a *Agent) ImagesInUse(ctx context.Context) (map[string]bool, error) {
	used := map[string]bool{}
	_, containers, err := a.Runtime.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		used[c.ImageID] = true
	}
	for _, pod := range a.Holding() {
		for _, ref := range imagesOf(pod) {
			image, err := a.Runtime.Image(ctx, ref)
			switch {
			case err == nil:
				used[image.ID] = true
			case !errors.Is(err, runtime.ErrImageNotFound):
				return nil, err // it might be there
			}
		}
	}
	return used, nil
}

// imagesOf are the images that a pod names.
func imagesOf(pod *corev1.Pod) []string {
	var refs []string
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			refs = append(refs, list[i].Image)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		refs = append(refs, pod.Spec.EphemeralContainers[i].Image)
	}
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].Image; v != nil {
			refs = append(refs, v.Reference)
		}
	}
	return refs
}

// underPressure tells why a node takes no such pod while its conditions hold.
func underPressure(pod *corev1.Pod, held map[corev1.NodeConditionType]bool) *status.Failure {
	if eviction.Critical(pod) {
		return nil
	}
	for _, c := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		if held[c] && !(c == corev1.NodeMemoryPressure && (status.QOSClass(pod) != corev1.PodQOSBestEffort || tolerates(pod, corev1.TaintNodeMemoryPressure))) {
			return &status.Failure{Reason: eviction.Reason, Message: "The node had condition: [" + string(c) + "]. "}
		}
	}
	return nil
}

func tolerates(pod *corev1.Pod, key string) bool {
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		if (t.Key == key || t.Key == "" && t.Operator == corev1.TolerationOpExists) && (t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule) {
			return true
		}
	}
	return false
}
