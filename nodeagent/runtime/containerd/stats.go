package containerd

import (
	"context"
	"fmt"
	"time"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Stats implements runtime.Interface. It reads the cgroup's files itself: the
// same numbers through the shim cost three calls.
func (r *Runtime) Stats(ctx context.Context, id string) (runtime.Stats, error) {
	m, err := r.lookup(ctx, id)
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("stats: %w", err)
	}
	l, err := r.readLife(id)
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("stats of container %q: %w", id, err)
	}
	if l.state() != runtime.StateRunning {
		return runtime.Stats{}, fmt.Errorf("stats of container %q: it is %s", id, l.state())
	}
	s := r.host.cgroupStats(m.Cgroup)
	s.Time = r.clock.Now()
	usage, err := r.snaps.Usage(r.in(ctx), id)
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("stats of container %q: %w", id, err)
	}
	s.FilesystemUsedBytes, s.InodesUsed = uint64(usage.Size), uint64(usage.Inodes)
	return s, nil
}

func (h hostFacts) cgroupStats(cgroup string) runtime.Stats {
	memory := readTable(h.cgroupFile("memory", cgroup, "memory.stat"))
	s := runtime.Stats{Pids: readNumber(h.cgroupFile("pids", cgroup, "pids.current"))}
	inactive := memory["inactive_file"]
	if h.cgroup2 {
		s.CPUUsageNanoseconds = readTable(h.cgroupFile("", cgroup, "cpu.stat"))["usage_usec"] * uint64(time.Microsecond)
		s.MemoryUsage = readNumber(h.cgroupFile("", cgroup, "memory.current"))
		s.MemoryRSS, s.PageFaults, s.MajorPageFaults = memory["anon"], memory["pgfault"], memory["pgmajfault"]
	} else {
		inactive = memory["total_inactive_file"]
		s.CPUUsageNanoseconds = readNumber(h.cgroupFile("cpuacct", cgroup, "cpuacct.usage"))
		s.MemoryUsage = readNumber(h.cgroupFile("memory", cgroup, "memory.usage_in_bytes"))
		s.MemoryRSS, s.PageFaults, s.MajorPageFaults = memory["total_rss"], memory["total_pgfault"], memory["total_pgmajfault"]
	}
	s.MemoryWorkingSet = s.MemoryUsage - min(s.MemoryUsage, inactive)
	return s
}
