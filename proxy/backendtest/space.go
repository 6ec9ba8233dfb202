package backendtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Space makes a network namespace that lives as long as the test and gives its
// path. It skips where that cannot be, or a program is missing.
func Space(t testing.TB, programs ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	path := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Errorf("let go of the network namespace: %v", err)
		}
	})
	return path
}

// Within runs f in a network namespace; programs that it starts are in it too.
func Within(space string, f func() error) error {
	return onThread(func() error {
		fd, err := unix.Open(space, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it, and with it its namespaces.
func onThread(f func() error) error {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done) // also when f ends its test
		runtime.LockOSThread()
		err = f()
	}()
	<-done
	return err
}
