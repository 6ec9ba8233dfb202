package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	stageVariable = "HEADWAY_BENCH_STAGE"
	stageInit     = "init"
	stageMeasure  = "measure"
	// address is the machine's, in its own network namespace; nothing answers
	// behind the gateway.
	address, gateway = "10.77.21.1", "10.77.21.254"
)

// isolate runs this program again in namespaces of its own. When its init ends
// for whatever reason the kernel ends all that was started, and rules, links
// and mounts go with it.
func isolate() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root")
	}
	// The interrupt goes to the whole group: the measuring process ends first.
	signal.Ignore(os.Interrupt)
	// Pdeathsig is the parent thread's death: keep the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := again(stageInit)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	leaveCgroups()
	return silent(err)
}

func again(stage string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// silent drops what a child has said itself.
func silent(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	return err
}

// leaveCgroups removes the cluster's cgroups; those that another cluster on
// this machine uses are not empty and stay.
func leaveCgroups() {
	for _, pattern := range []string{"/sys/fs/cgroup/headway", "/sys/fs/cgroup/*/headway"} {
		roots, _ := filepath.Glob(pattern) // the pattern is a constant
		for _, root := range roots {
			_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
				if err == nil && path != root {
					_ = unix.Rmdir(path) // in use by another: stays
				}
				return nil
			})
		}
	}
}

// initProcess is the first process of the namespaces: it sets them up and
// reaps what is left to it.
func initProcess() error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	cmd := again(stageMeasure)
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := links(); err != nil {
		return fmt.Errorf("make links: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR: //nolint:errorlint // a bare errno
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case pid == cmd.Process.Pid && status.Signaled():
			os.Exit(128 + int(status.Signal()))
		case pid == cmd.Process.Pid:
			os.Exit(status.ExitStatus())
		}
	}
}

// links are the loopback and one more, so that the node has an address that is
// not the loopback's and a way out that leads nowhere.
func links() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	up := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "up0"}}
	if err := errors.Join(netlink.LinkSetUp(loopback), netlink.LinkAdd(up)); err != nil {
		return err
	}
	at, err := netlink.ParseAddr(address + "/24")
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(up, at), netlink.LinkSetUp(up)); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: up.Attrs().Index, Gw: net.ParseIP(gateway)})
}

// removeAll removes a directory and what is mounted below it.
func removeAll(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range mounts {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return os.RemoveAll(dir)
}
