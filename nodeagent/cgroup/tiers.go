package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tiers are the groups between the top and the pods, one for each class of
// service. A tier's share of the CPU is the sum of its pods', so that each pod
// has its own share of the machine whatever the others' classes are; the best
// effort tier has as little as there is, however many pods it has.
type tiers struct {
	mu     sync.Mutex // guards shares, and keeps writes in order
	shares map[corev1.PodQOSClass]map[types.UID]int64
}

// tier counts a pod into its class's group.
func (g *Groups) tier(class corev1.PodQOSClass, uid types.UID, shares int64) error {
	g.tiers.mu.Lock()
	defer g.tiers.mu.Unlock()
	if g.tiers.shares == nil {
		g.tiers.shares = g.present()
	}
	if g.tiers.shares[class] == nil {
		g.tiers.shares[class] = map[types.UID]int64{}
	}
	g.tiers.shares[class][uid] = shares
	return g.weigh(class)
}

// leave takes a pod out of its class's group.
func (g *Groups) leave(uid types.UID) error {
	g.tiers.mu.Lock()
	defer g.tiers.mu.Unlock()
	var errs []error
	for class, pods := range g.tiers.shares {
		if _, ok := pods[uid]; ok {
			delete(pods, uid)
			errs = append(errs, g.weigh(class))
		}
	}
	return errors.Join(errs...)
}

// weigh writes the shares of a class's group; the mutex is held.
func (g *Groups) weigh(class corev1.PodQOSClass) error {
	sum := int64(0)
	if class != corev1.PodQOSBestEffort {
		for _, shares := range g.tiers.shares[class] {
			sum += shares
		}
	}
	sum = min(max(sum, minShares), maxShares)
	dir, setting := filepath.Join(g.Mount, "cpu", g.Parent, strings.ToLower(string(class))), [2]string{"cpu.shares", number(sum)}
	if g.unified {
		dir, setting = filepath.Join(g.Mount, g.Parent, strings.ToLower(string(class))), [2]string{"cpu.weight", number(weight(sum))}
	}
	return apply(dir, [][2]string{setting})
}

// present reads what pods there are from an agent before this one.
func (g *Groups) present() map[corev1.PodQOSClass]map[types.UID]int64 {
	found := map[corev1.PodQOSClass]map[types.UID]int64{}
	for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		pattern := filepath.Join(g.Mount, "cpu", g.path(class, "*"), "cpu.shares")
		if g.unified {
			pattern = filepath.Join(g.Mount, g.path(class, "*"), "cpu.weight")
		}
		files, err := filepath.Glob(pattern)
		if err != nil {
			continue // the pattern is a constant and a parent without marks
		}
		found[class] = map[types.UID]int64{}
		for _, file := range files {
			uid := strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "pod")
			if shares, err := readInteger(file); err == nil {
				if g.unified {
					shares = minShares + (shares-1)*(maxShares-minShares)/9999
				}
				found[class][types.UID(uid)] = shares
			}
		}
	}
	return found
}

func readInteger(file string) (int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// DefaultPidsLimit keeps one pod from using up the processes of the machine: a
// quarter of what there can be, at most 32768.
func DefaultPidsLimit() int64 {
	const most = 32768
	limit := int64(most)
	for _, name := range []string{"pid_max", "threads-max"} {
		if n, err := readInteger("/proc/sys/kernel/" + name); err == nil {
			limit = min(limit, n/4)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return most
		}
	}
	return limit
}
