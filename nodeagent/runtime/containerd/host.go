package containerd

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"github.com/containerd/containerd/v2/pkg/cap"
	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// hostFacts are what a container's specification depends on.
type hostFacts struct {
	// cgroup2 says that all controllers are in one hierarchy.
	cgroup2 bool
	// capabilities are those that this process may give away.
	capabilities []string
	seccomp      bool
	appArmor     bool
}

func readHostFacts() (hostFacts, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err != nil {
		return hostFacts{}, fmt.Errorf("look at %s: %w", cgroupRoot, err)
	}
	capabilities, err := cap.Current()
	if err != nil {
		return hostFacts{}, fmt.Errorf("read own capabilities: %w", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return hostFacts{}, err
	}
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return hostFacts{
		cgroup2:      fs.Type == unix.CGROUP2_SUPER_MAGIC,
		capabilities: capabilities,
		seccomp:      bytes.Contains(status, []byte("\nSeccomp:")),
		appArmor:     err == nil && bytes.HasPrefix(enabled, []byte("Y")),
	}, nil
}

// oomScore is the score nearest to the wanted one that the kernel accepts.
func (h hostFacts) oomScore(want int) int {
	if want < 0 && !slices.Contains(h.capabilities, "CAP_SYS_RESOURCE") {
		return 0
	}
	return want
}
