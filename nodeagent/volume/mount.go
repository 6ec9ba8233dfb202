package volume

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/resource"
)

// tmpfs mounts one at path unless it is there, and tells whether it did.
func tmpfs(path, options string) (bool, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	if s.Type == unix.TMPFS_MAGIC {
		mounted, err := mountPoint(path)
		if err != nil || mounted {
			return false, err
		}
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return false, fmt.Errorf("mount tmpfs on %s: %w", path, err)
	}
	return true, nil
}

// hugetlbfs mounts one with pages of a size such as "2Mi" at path, or of the
// kernel's default size, unless it is there.
func hugetlbfs(path, page string) (bool, error) {
	if mounted, err := mountPoint(path); err != nil || mounted {
		return false, err
	}
	options := ""
	if page != "" {
		size, err := resource.ParseQuantity(page)
		if err != nil {
			return false, fmt.Errorf("size of huge pages %q: %w", page, err)
		}
		options = fmt.Sprintf("pagesize=%d", size.Value())
	}
	if err := unix.Mount("nodev", path, "hugetlbfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return false, fmt.Errorf("mount huge pages on %s: %w", path, err)
	}
	return true, nil
}

func mountPoint(path string) (bool, error) {
	points, err := mounts()
	return slices.Contains(points, path), err
}

// unmountBelow unmounts everything below dir, the last mounted first.
func unmountBelow(dir string) error {
	points, err := mounts()
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		if !strings.HasPrefix(point, dir+"/") {
			continue
		}
		if err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil && err != unix.EINVAL { //nolint:errorlint // an errno
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// mounts lists the mount points in the order they were made.
func mounts() ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer file.Close()
	var points []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 {
			points = append(points, unescape.Replace(fields[4]))
		}
	}
	return points, lines.Err()
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
