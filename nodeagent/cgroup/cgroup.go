package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/status"
)

const (
	defaultMount  = "/sys/fs/cgroup"
	defaultParent = "headway"
	// removeTries is how often a group is tried to be removed that the kernel
	// still finds busy: a killed process leaves it a moment after its end.
	removeTries = 50
)

// Config is where the groups are.
type Config struct {
	// Mount is where the hierarchies are mounted. Default: /sys/fs/cgroup.
	Mount string
	// Parent is the top group's name. Default: headway.
	Parent string
	// PidsLimit of a pod; 0 sets none.
	PidsLimit int64
}

// Groups are the node's pod cgroups. Safe for concurrent use.
type Groups struct {
	Config
	unified bool
	tiers   tiers
}

// New looks which version of cgroups the machine has.
func New(config Config) (*Groups, error) {
	if config.Mount == "" {
		config.Mount = defaultMount
	}
	if config.Parent == "" {
		config.Parent = defaultParent
	}
	var s unix.Statfs_t
	if err := unix.Statfs(config.Mount, &s); err != nil {
		return nil, fmt.Errorf("look at cgroups in %s: %w", config.Mount, err)
	}
	return &Groups{Config: config, unified: s.Type == unix.CGROUP2_SUPER_MAGIC}, nil
}

// Ensure makes the pod's group and sets its limits; it gives its path below
// the hierarchies' roots.
func (g *Groups) Ensure(pod *corev1.Pod) (string, error) {
	path := g.path(status.QOSClass(pod), pod.UID)
	resources := Pod(pod)
	resources.PidsLimit = g.PidsLimit
	if err := g.set(path, resources); err != nil {
		return "", fmt.Errorf("make cgroup %s: %w", path, err)
	}
	if err := g.tier(status.QOSClass(pod), pod.UID, resources.CPUShares); err != nil {
		return "", fmt.Errorf("make cgroup %s: %w", path, err)
	}
	return path, nil
}

// Resize widens the limits of a pod's group to what holds both states of the
// pod, so that its containers can change one after the other.
func (g *Groups) Resize(before, after *corev1.Pod) error {
	from, to := Pod(before), Pod(after)
	wide := runtime.Resources{CPUShares: max(from.CPUShares, to.CPUShares), PidsLimit: g.PidsLimit, CPUPeriod: period}
	if from.CPUQuota > 0 && to.CPUQuota > 0 {
		wide.CPUQuota = max(from.CPUQuota, to.CPUQuota)
	}
	if from.MemoryLimit > 0 && to.MemoryLimit > 0 {
		wide.MemoryLimit = max(from.MemoryLimit, to.MemoryLimit)
	}
	return g.set(g.path(status.QOSClass(after), after.UID), wide)
}

// set makes a group, if it is not there, and gives it limits.
func (g *Groups) set(path string, resources runtime.Resources) error {
	if g.unified {
		return g.ensure2(path, resources)
	}
	return g.ensure1(path, resources)
}

// Remove removes the pod's group and what is below it.
func (g *Groups) Remove(uid types.UID) error {
	var errs []error
	for _, root := range g.roots() {
		for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
			errs = append(errs, remove(filepath.Join(root, g.path(class, uid))))
		}
	}
	errs = append(errs, g.leave(uid))
	return errors.Join(errs...)
}

// RemoveAll removes the whole tree; nothing may run in it any more.
func (g *Groups) RemoveAll() error {
	var errs []error
	for _, root := range g.roots() {
		errs = append(errs, remove(filepath.Join(root, g.Parent)))
	}
	return errors.Join(errs...)
}

func (g *Groups) path(class corev1.PodQOSClass, uid types.UID) string {
	return filepath.Join("/", g.Parent, strings.ToLower(string(class)), "pod"+string(uid))
}

// roots are the hierarchies' mount points, each once.
func (g *Groups) roots() []string {
	if g.unified {
		return []string{g.Mount}
	}
	entries, err := os.ReadDir(g.Mount)
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		// Joined controllers have links such as cpu → cpu,cpuacct.
		if e.IsDir() {
			all = append(all, filepath.Join(g.Mount, e.Name()))
		}
	}
	return all
}

// ensure1 makes the group where its limits are; the runtime makes the others.
func (g *Groups) ensure1(path string, r runtime.Resources) error {
	values := map[string][][2]string{
		"cpu":    {{"cpu.shares", number(r.CPUShares)}, {"cpu.cfs_period_us", number(r.CPUPeriod)}, {"cpu.cfs_quota_us", limit(r.CPUQuota, "-1")}},
		"memory": {{"memory.limit_in_bytes", limit(r.MemoryLimit, "-1")}},
		"pids":   {{"pids.max", number(r.PidsLimit)}},
	}
	for size, bytes := range r.HugePages {
		values["hugetlb"] = append(values["hugetlb"], [2]string{"hugetlb." + size + ".limit_in_bytes", strconv.FormatInt(bytes, 10)})
	}
	for controller, settings := range values {
		root := filepath.Join(g.Mount, controller)
		if _, err := os.Stat(root); os.IsNotExist(err) {
			continue // the kernel lacks it
		}
		dir := filepath.Join(root, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := apply(dir, settings); err != nil {
			return err
		}
	}
	return nil
}

func (g *Groups) ensure2(path string, r runtime.Resources) error {
	dir := g.Mount
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if err := enable(dir); err != nil {
			return err
		}
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			return err
		}
	}
	if err := enable(dir); err != nil {
		return err
	}
	settings := [][2]string{{"cpu.weight", number(weight(r.CPUShares))}, {"memory.max", limit(r.MemoryLimit, "max")}, {"pids.max", number(r.PidsLimit)}}
	settings = append(settings, [2]string{"cpu.max", fmt.Sprintf("%s %d", limit(r.CPUQuota, "max"), period)})
	for size, bytes := range r.HugePages {
		settings = append(settings, [2]string{"hugetlb." + size + ".max", strconv.FormatInt(bytes, 10)})
	}
	return apply(dir, settings)
}

// enable hands the controllers that there are down to a group's children.
func enable(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(data)) {
		switch name {
		case "cpu", "memory", "pids", "io", "cpuset", "hugetlb":
			// One that cannot be handed down, such as cpu beside real-time
			// tasks, costs its limits and not the pod.
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644) //nolint:gosec // a kernel file
		}
	}
	return nil
}

// weight turns shares (2 to 262144) into cgroup v2's weight (1 to 10000) in
// proportion, the mapping of the CRI runtimes.
func weight(shares int64) int64 {
	if shares <= 0 {
		return 0
	}
	return 1 + (shares-minShares)*9999/(maxShares-minShares)
}

// apply writes settings; an empty value leaves the kernel's.
func apply(dir string, settings [][2]string) error {
	for _, s := range settings {
		if s[1] == "" {
			continue
		}
		path := filepath.Join(dir, s[0])
		if have, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(have)) == s[1] {
			continue
		}
		err := os.WriteFile(path, []byte(s[1]), 0o644) //nolint:gosec // a kernel file
		if errors.Is(err, fs.ErrNotExist) {
			continue // the controller is not there
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// limit is a number, or the kernel's word for none.
func limit(n int64, none string) string {
	if n <= 0 {
		return none
	}
	return strconv.FormatInt(n, 10)
}

func number(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// remove removes a group and all below it, the deepest first.
func remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for try := 1; ; try++ {
		err = unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY) || try == removeTries:
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		time.Sleep(10 * time.Millisecond) // the kernel tells nobody when a v1 group is empty
	}
}
