package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// nsfsMagic is the type of the file system that pinned namespaces are on.
const nsfsMagic = 0x6e736673

// pins are the namespaces of a pod that are pinned, by file name.
type pins struct {
	net, ipc, uts bool
}

func (p pins) flags() (flags int, names []string) {
	for _, n := range []struct {
		on   bool
		name string
		flag int
	}{{p.net, "net", unix.CLONE_NEWNET}, {p.ipc, "ipc", unix.CLONE_NEWIPC}, {p.uts, "uts", unix.CLONE_NEWUTS}} {
		if n.on {
			flags |= n.flag
			names = append(names, n.name)
		}
	}
	return flags, names
}

// pinNamespaces makes new namespaces and binds them to files in dir. They are
// made on a thread that is never used again, so that nothing of the process
// ends up in them.
func pinNamespaces(dir string, p pins, hostname string, sysctls map[string]string) error {
	flags, names := p.flags()
	if flags == 0 {
		return nil
	}
	result := make(chan error, 1)
	go onOwnThread(func() { result <- pinOnThread(dir, flags, names, hostname, sysctls) })
	return <-result
}

// onOwnThread runs f on a thread that then ends. The process's first thread
// cannot end, and is what /proc/self shows: it must stay as it is.
func onOwnThread(f func()) {
	goruntime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return // locked: the thread ends with the goroutine
	}
	defer goruntime.UnlockOSThread()
	done := make(chan struct{})
	go func() { // cannot be on the first thread, which this goroutine holds
		defer close(done)
		onOwnThread(f)
	}()
	<-done
}

func pinOnThread(dir string, flags int, names []string, hostname string, sysctls map[string]string) error {
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if flags&unix.CLONE_NEWUTS != 0 {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set hostname %q: %w", hostname, err)
		}
	}
	if flags&unix.CLONE_NEWNET != 0 {
		if err := linkUp("lo"); err != nil {
			return fmt.Errorf("set loopback up: %w", err)
		}
	}
	for key, value := range sysctls {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(filepath.Clean("/"+key), ".", "/"))
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl %s: %w", key, err)
		}
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), name), path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pin %s namespace: %w", name, err)
		}
	}
	return nil
}

func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // only asked for an ioctl
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// pinned says whether all the namespaces are there.
func pinned(dir string, p pins) bool {
	_, names := p.flags()
	for _, name := range names {
		var fs unix.Statfs_t
		if err := unix.Statfs(filepath.Join(dir, name), &fs); err != nil || fs.Type != nsfsMagic {
			return false
		}
	}
	return true
}

// unmountBelow undoes every mount directly in dir.
func unmountBelow(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		for {
			err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
				break // nothing (more) is mounted there
			}
			if err != nil {
				return fmt.Errorf("unmount %s: %w", path, err)
			}
		}
	}
	return nil
}
