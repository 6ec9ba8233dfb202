package cgroup

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

// Tree is a machine's cgroup hierarchies.
type Tree struct {
	// Mount is where they are mounted.
	Mount string
	// Unified says that all controllers are in one hierarchy (version 2).
	Unified bool
}

// file is the path of a controller's file in either version.
func (t Tree) file(controller, path, name string) string {
	if t.Unified {
		return filepath.Join(t.Mount, path, name)
	}
	return filepath.Join(t.Mount, controller, path, name)
}

// Usage reads what the processes of a group and of those below it use; what
// cannot be read is 0. The time is for the caller to set.
func (t Tree) Usage(path string) runtime.Stats {
	memory := readTable(t.file("memory", path, "memory.stat"))
	s := runtime.Stats{Pids: readNumber(t.file("pids", path, "pids.current"))}
	inactive := memory["inactive_file"]
	if t.Unified {
		s.CPUUsageNanoseconds = readTable(t.file("", path, "cpu.stat"))["usage_usec"] * uint64(time.Microsecond)
		s.MemoryUsage = readNumber(t.file("", path, "memory.current"))
		s.MemoryRSS, s.PageFaults, s.MajorPageFaults = memory["anon"], memory["pgfault"], memory["pgmajfault"]
	} else {
		inactive = memory["total_inactive_file"]
		s.CPUUsageNanoseconds = readNumber(t.file("cpuacct", path, "cpuacct.usage"))
		s.MemoryUsage = readNumber(t.file("memory", path, "memory.usage_in_bytes"))
		s.MemoryRSS, s.PageFaults, s.MajorPageFaults = memory["total_rss"], memory["total_pgfault"], memory["total_pgmajfault"]
	}
	s.MemoryWorkingSet = s.MemoryUsage - min(s.MemoryUsage, inactive)
	return s
}

// OOMKills counts the processes of a group that the kernel killed for memory.
func (t Tree) OOMKills(path string) uint64 {
	name := "memory.oom_control"
	if t.Unified {
		name = "memory.events"
	}
	return readTable(t.file("memory", path, name))["oom_kill"]
}

// PodUsage reads what a pod as a whole uses.
func (g *Groups) PodUsage(pod *corev1.Pod) runtime.Stats {
	return g.tree().Usage(g.path(status.QOSClass(pod), pod.UID))
}

// MachineUsage reads what everything on the machine uses. The root of a unified
// hierarchy does not say how much memory that is, but /proc/meminfo does.
func (g *Groups) MachineUsage() runtime.Stats {
	s := g.tree().Usage("/")
	if g.unified && s.MemoryUsage == 0 {
		var info unix.Sysinfo_t
		if unix.Sysinfo(&info) == nil {
			s.MemoryUsage = (info.Totalram - info.Freeram) * uint64(info.Unit)
		}
		s.MemoryWorkingSet = s.MemoryUsage - min(s.MemoryUsage, readTable(g.tree().file("", "/", "memory.stat"))["inactive_file"])
	}
	return s
}

func (g *Groups) tree() Tree { return Tree{Mount: g.Mount, Unified: g.unified} }

// readTable reads "name number" lines; a file that is not there is empty.
func readTable(path string) map[string]uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	table := map[string]uint64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, number, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseUint(number, 10, 64); err == nil {
			table[name] = n
		}
	}
	return table
}

func readNumber(path string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
