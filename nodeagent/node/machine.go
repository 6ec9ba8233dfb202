package node

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what a Node says of the machine it is.
type Machine struct {
	CPUs                         int
	MemoryTotal, MemoryAvailable int64
	SwapTotal                    int64
	// Disk is the file system of the data directory, Images that of containerd.
	Disk, Images Disk
	// HugePages are how many pages of a size (in bytes) are set aside.
	HugePages                     map[int64]int64
	PidsMax, Pids                 int64
	MachineID, SystemUUID, BootID string
	Kernel, OSImage               string
}

// Disk is a file system. Total is what can be used of it, without what is kept
// for root.
type Disk struct {
	Total, Available   int64
	Inodes, InodesFree int64
}

func readDisk(dir string) (Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Disk{}, fmt.Errorf("read disk of %s: %w", dir, err)
	}
	return Disk{
		Total:     int64(s.Blocks-s.Bfree+s.Bavail) * s.Bsize, //nolint:gosec // sizes of disks
		Available: int64(s.Bavail) * s.Bsize,                  //nolint:gosec // sizes of disks
		Inodes:    int64(s.Files), InodesFree: int64(s.Ffree), //nolint:gosec // numbers of files
	}, nil
}

// hugePages reads what the kernel has set aside.
func hugePages() map[int64]int64 {
	all := map[int64]int64{}
	dirs, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB") // the pattern is a good one
	for _, dir := range dirs {
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue
		}
		all[kib<<10], _ = strconv.ParseInt(word(filepath.Join(dir, "nr_hugepages")), 10, 64) // 0: not known
	}
	return all
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
		case "SwapTotal:":
			m.SwapTotal = kib << 10
		}
	}
	m.HugePages = hugePages()
	if m.Disk, err = readDisk(dataDir); err != nil {
		return m, err
	}
	if m.Images, err = readDisk(filepath.Join(dataDir, "containerd")); err != nil {
		m.Images = m.Disk // a containerd that is not ours: taken to be on the same disk
	}
	m.PidsMax, _ = strconv.ParseInt(word("/proc/sys/kernel/pid_max"), 10, 64) // 0: not known
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
