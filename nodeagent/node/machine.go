package node

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what a Node says of the machine it is.
type Machine struct {
	CPUs                          int
	MemoryTotal, MemoryAvailable  int64
	DiskTotal, DiskAvailable      int64
	PidsMax, Pids                 int64
	MachineID, SystemUUID, BootID string
	Kernel, OSImage               string
}

// ReadMachine reads the machine; the disk is that of dataDir.
func ReadMachine(dataDir string) (Machine, error) {
	m := Machine{CPUs: runtime.NumCPU(), MachineID: word("/etc/machine-id"), BootID: word("/proc/sys/kernel/random/boot_id"),
		SystemUUID: word("/sys/class/dmi/id/product_uuid"), Kernel: word("/proc/sys/kernel/osrelease"), OSImage: osImage()}
	if m.SystemUUID == "" {
		m.SystemUUID = m.MachineID
	}
	memory, err := os.Open("/proc/meminfo")
	if err != nil {
		return m, fmt.Errorf("read machine: %w", err)
	}
	defer memory.Close()
	for lines := bufio.NewScanner(memory); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64) // 0 for what is no number
		switch fields[0] {
		case "MemTotal:":
			m.MemoryTotal = kib << 10
		case "MemAvailable:":
			m.MemoryAvailable = kib << 10
		}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dataDir, &disk); err != nil {
		return m, fmt.Errorf("read disk of %s: %w", dataDir, err)
	}
	m.DiskTotal, m.DiskAvailable = int64(disk.Blocks)*disk.Bsize, int64(disk.Bavail)*disk.Bsize //nolint:gosec // sizes of disks
	m.PidsMax, _ = strconv.ParseInt(word("/proc/sys/kernel/pid_max"), 10, 64)                   // 0: not known
	if fields := strings.Fields(word("/proc/loadavg")); len(fields) > 3 {
		_, all, _ := strings.Cut(fields[3], "/")
		m.Pids, _ = strconv.ParseInt(all, 10, 64) // 0: not known
	}
	return m, nil
}

// word is a file's content without white space; empty if it cannot be read.
func word(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func osImage() string {
	for line := range strings.Lines(word("/etc/os-release")) {
		if value, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return "Linux"
}
