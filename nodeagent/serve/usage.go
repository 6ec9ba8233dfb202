package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Groups measure what control groups use. Safe for concurrent use.
type Groups interface {
	// PodUsage and MachineUsage leave the time to the caller; what cannot be
	// read is 0.
	PodUsage(pod *corev1.Pod) runtime.Stats
	MachineUsage() runtime.Stats
}

// used is what something on the node uses.
type used struct {
	runtime.Stats
	started time.Time
}

// usedPod is a pod of which a container runs.
type usedPod struct {
	*corev1.Pod
	used
	containers []usedContainer
}

type usedContainer struct {
	used
	id, name string
}

// measured is one look at the whole node.
type measured struct {
	node used
	pods []usedPod
	// failed says that a container that runs could not be measured.
	failed bool
}

// measure looks at the node. A container that has ended meanwhile is left out.
func (s *Server) measure(ctx context.Context) measured {
	m := measured{node: used{Stats: s.Groups.MachineUsage(), started: s.started}}
	m.node.Time = s.Clock.Now()
	all := s.Pods.All()
	for i := range all {
		pod := &all[i]
		found, ok := s.Pods.Find(pod.Namespace, pod.Name, pod.UID)
		if !ok {
			continue
		}
		p := usedPod{Pod: pod, used: used{Stats: s.Groups.PodUsage(pod)}}
		p.Time = s.Clock.Now()
		if pod.Status.StartTime != nil {
			p.started = pod.Status.StartTime.Time
		}
		for name, started := range runningSince(pod) {
			id := found.Containers[name].ID
			if id == "" {
				continue
			}
			u, err := s.Runtime.Stats(ctx, id)
			if err != nil {
				m.failed = m.failed || !ended(found.Containers[name])
				continue
			}
			p.containers = append(p.containers, usedContainer{used{u, started}, id, name})
		}
		if len(p.containers) > 0 {
			m.pods = append(m.pods, p)
		}
	}
	return m
}

// runningSince yields the names of a pod's containers that run, in the order of
// its status, and since when they do.
func runningSince(pod *corev1.Pod) func(yield func(string, time.Time) bool) {
	return func(yield func(string, time.Time) bool) {
		s := &pod.Status
		for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
			for i := range list {
				if r := list[i].State.Running; r != nil && !yield(list[i].Name, r.StartedAt.Time) {
					return
				}
			}
		}
	}
}

func ended(c Container) bool {
	select {
	case <-c.Ended:
		return true
	default:
		return c.Ended == nil
	}
}

// summary answers with what the node, its pods and their containers use.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	m := s.measure(r.Context())
	rate := s.rates.next()
	answer := stats.Summary{Pods: []stats.PodStats{}, Node: stats.NodeStats{
		NodeName: s.NodeName, StartTime: metav1.NewTime(m.node.started), CPU: cpuStats(m.node, rate("")), Memory: memoryStats(m.node),
	}}
	for _, p := range m.pods {
		out := stats.PodStats{
			PodRef:    stats.PodReference{Name: p.Name, Namespace: p.Namespace, UID: string(p.UID)},
			StartTime: metav1.NewTime(p.started), CPU: cpuStats(p.used, rate(string(p.UID))), Memory: memoryStats(p.used),
			ProcessStats: &stats.ProcessStats{ProcessCount: ptr.To(p.Pids)},
		}
		for _, c := range p.containers {
			out.Containers = append(out.Containers, stats.ContainerStats{
				Name: c.name, StartTime: metav1.NewTime(c.started), CPU: cpuStats(c.used, rate(c.id)), Memory: memoryStats(c.used),
				Rootfs: s.rootStats(r.Context(), c),
			})
		}
		answer.Pods = append(answer.Pods, out)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(&answer); err != nil {
		s.Logger.Debug("usage not served", "err", err) // the client is gone
	}
}

// rootStats is nil where a container's root cannot be measured: it has ended.
func (s *Server) rootStats(ctx context.Context, c usedContainer) *stats.FsStats {
	u, err := s.Runtime.DiskUsage(ctx, c.id)
	if err != nil {
		return nil
	}
	return &stats.FsStats{Time: metav1.NewTime(c.Time), UsedBytes: ptr.To(u.Bytes), InodesUsed: ptr.To(u.Inodes)}
}

func cpuStats(u used, rate func(used) *uint64) *stats.CPUStats {
	return &stats.CPUStats{Time: metav1.NewTime(u.Time), UsageCoreNanoSeconds: ptr.To(u.CPUUsageNanoseconds), UsageNanoCores: rate(u)}
}

func memoryStats(u used) *stats.MemoryStats {
	return &stats.MemoryStats{
		Time: metav1.NewTime(u.Time), UsageBytes: ptr.To(u.MemoryUsage), WorkingSetBytes: ptr.To(u.MemoryWorkingSet), RSSBytes: ptr.To(u.MemoryRSS),
		PageFaults: ptr.To(u.PageFaults), MajorPageFaults: ptr.To(u.MajorPageFaults),
	}
}
