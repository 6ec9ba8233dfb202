package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/cgroup"
)

// devStopPatience is how long the machines' processes may take to end by
// themselves.
const devStopPatience = 10 * time.Second

// down ends every process of the cluster and takes away its control groups,
// mounts and network. Services' and pods' rules, links and routes go with the
// namespaces that they are in.
func (c *devCluster) down(ctx context.Context) error {
	if err := c.stop(ctx); err != nil {
		return err
	}
	groups, err := cgroup.New(cgroup.Config{Parent: c.cgroup("")})
	if err != nil {
		return err
	}
	err = poll(ctx, func() (bool, error) {
		left, err := c.rest()
		for _, pid := range left {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return false, fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		return len(left) == 0, err
	})
	if err != nil {
		return err
	}
	return errors.Join(groups.RemoveAll(), unmountBelow(c.dir), c.network().Down())
}

// stop ends servers and agents in good order, the agents first.
func (c *devCluster) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, devStopPatience)
	defer cancel()
	for _, servers := range []bool{false, true} {
		told := map[string]bool{}
		err := poll(ctx, func() (bool, error) {
			running := false
			for _, m := range c.Machines {
				pid, err := c.pid(m)
				if err != nil {
					return false, err
				}
				if m.Server != servers || pid == 0 {
					continue
				}
				running = true
				if !told[m.Name] {
					told[m.Name] = true
					// One that has just ended is as good.
					_ = errors.Join(unix.Kill(pid, unix.SIGCONT), unix.Kill(pid, unix.SIGTERM))
				}
			}
			return !running, nil
		})
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}

// rest are the processes in the machines' control groups and namespaces.
func (c *devCluster) rest() ([]int, error) {
	spaces := map[uint64]bool{}
	machines, err := c.network().Machines()
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		var s unix.Stat_t
		if err := unix.Stat(c.network().Path(m), &s); err == nil {
			spaces[s.Ino] = true
		}
	}
	left := map[int]bool{}
	err = eachProcess(func(pid int, _ []string) {
		var s unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &s); err == nil && spaces[s.Ino] {
			left[pid] = true
		}
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err == nil && bytes.Contains(groups, []byte(":/"+c.cgroup("")+"/")) {
			left[pid] = true
		}
	})
	var all []int
	for pid := range left {
		all = append(all, pid)
	}
	return all, err
}

// eachProcess visits all processes with their arguments, which are empty for a
// process that has ended and was not collected.
func eachProcess(f func(pid int, args []string)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(text) == 0 {
			continue // it has ended, or is the kernel's
		}
		f(pid, strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"))
	}
	return nil
}
