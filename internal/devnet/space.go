package devnet

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// nsfsMagic is the type of the file system that pinned namespaces are on.
const nsfsMagic = 0x6e736673

// space makes a machine's namespace and pins it, unless it is there.
func (n Network) space(machine string) error {
	path := n.Path(machine)
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err == nil && s.Type == nsfsMagic {
		return nil
	}
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make namespace of %s: %w", machine, err)
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pin namespace of %s: %w", machine, err)
		}
		return nil
	})
}

// Start starts the command in a machine's network namespace. Everything else,
// mounts and control groups, is this process's.
func (n Network) Start(machine string, cmd *exec.Cmd) error {
	space, err := netns.GetFromPath(n.Path(machine))
	if err != nil {
		return fmt.Errorf("open namespace of %s: %w", machine, err)
	}
	defer space.Close()
	return onOwnThread(func() error {
		if err := netns.Set(space); err != nil {
			return fmt.Errorf("enter namespace of %s: %w", machine, err)
		}
		return cmd.Start() // a child begins where the thread is that makes it
	})
}

// onOwnThread runs f on a thread that ends afterwards, so that nothing else of
// the process ever runs in what f has entered. The process's first thread
// cannot end, and is what /proc/self shows: it is held until f has run on
// another one.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return // locked: the thread ends with the goroutine
		}
		defer runtime.UnlockOSThread()
		done <- onOwnThread(f)
	}()
	return <-done
}
