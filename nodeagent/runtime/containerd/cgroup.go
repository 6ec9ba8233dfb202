package containerd

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupFile is the path of a controller's file in either version.
func (h hostFacts) cgroupFile(controller, cgroup, name string) string {
	if h.cgroup2 {
		return filepath.Join(cgroupRoot, cgroup, name)
	}
	return filepath.Join(cgroupRoot, controller, cgroup, name)
}

// oomKills counts processes of the cgroup that the kernel killed for memory.
func (h hostFacts) oomKills(cgroup string) uint64 {
	name := "memory.oom_control"
	if h.cgroup2 {
		name = "memory.events"
	}
	return readTable(h.cgroupFile("memory", cgroup, name))["oom_kill"]
}

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

// removeCgroup removes the pod's cgroup from every hierarchy. One that is in
// use or gone is left: its user or remover is responsible.
func removeCgroup(cgroup string) {
	cgroup = filepath.Clean("/" + cgroup)
	if cgroup == "/" {
		return
	}
	roots, err := filepath.Glob(cgroupRoot + "/*" + cgroup)
	if err != nil {
		return
	}
	for _, dir := range append(roots, filepath.Join(cgroupRoot, cgroup)) {
		_ = os.Remove(dir)
	}
}
