package containerd_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/containerdproc"
	"github.com/headway-sh/headway/nodeagent/daemon"
	"github.com/headway-sh/headway/nodeagent/logkeeper"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

// keeperVariable makes the test binary a log keeper's process.
const keeperVariable = "CONTAINERD_TEST_KEEPER"

func TestMain(m *testing.M) {
	if os.Getenv(keeperVariable) != "" {
		if err := logkeeper.Main(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(agentVariable) != "" {
		if err := agentProcess(context.Background(), os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// node is what outlives the agent: containerd and the log keeper.
type node struct {
	dir        string
	containerd *containerdproc.Process
	keeper     *daemon.Daemon
}

func newNode(t testing.TB) *node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	for _, program := range []string{"containerd", "runc", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir, err := os.MkdirTemp("", "hw")
	if err != nil {
		t.Fatal(err)
	}
	cgroup := "/headway-test-" + filepath.Base(dir)
	n := &node{dir: dir}
	if n.containerd, err = containerdproc.New(containerdproc.Config{Dir: filepath.Join(dir, "c"), Cgroup: cgroup}); err != nil {
		t.Fatal(err)
	}
	n.keeper = logkeeper.NewProcess(logkeeper.ProcessConfig{
		Dir: filepath.Join(dir, "k"), Command: []string{os.Args[0]}, Env: []string{keeperVariable + "=1"}, Cgroup: cgroup,
	})
	t.Cleanup(func() { n.close(t) })
	if err := os.MkdirAll(filepath.Join(dir, "k"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, process := range []*daemon.Daemon{n.keeper, n.containerd.Daemon} {
		if err := process.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *node) close(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), runtimetest.Patience)
	defer cancel()
	if left := n.shims(t); len(left) > 0 {
		t.Errorf("shims are left: %v", left)
	}
	for _, process := range []*daemon.Daemon{n.containerd.Daemon, n.keeper} {
		if err := process.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, n.dir) {
			t.Errorf("mount is left: %s", line)
			if err := unix.Unmount(strings.Fields(line)[1], unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	if err := os.RemoveAll(n.dir); err != nil {
		t.Error(err)
	}
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*/headway-runtimetest")
	if err != nil {
		t.Error(err)
	}
	for _, cgroup := range append(cgroups, "/sys/fs/cgroup/headway-runtimetest") {
		_ = os.Remove(cgroup) // another test's pods may be in it
	}
}

// shims are the processes that serve containers of this node.
func (n *node) shims(t testing.TB) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte("containerd-shim")) && bytes.Contains(line, []byte(n.containerd.Socket())) {
			found = append(found, filepath.Base(filepath.Dir(file)))
		}
	}
	return found
}

// agent is one life of the agent: a runtime that runs until stop.
type agent struct {
	*containerd.Runtime
	stop func()
}

func (n *node) agent(t testing.TB, change ...func(*containerd.Config)) *agent {
	t.Helper()
	rt, closeRuntime := n.open(t, change...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := rt.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return &agent{Runtime: rt, stop: sync.OnceFunc(func() {
		cancel()
		running.Wait()
		closeRuntime()
	})}
}

// open is a runtime that does not run.
func (n *node) open(t testing.TB, change ...func(*containerd.Config)) (rt *containerd.Runtime, closeRuntime func()) {
	t.Helper()
	keeper := logkeeper.NewClient(logkeeper.Socket(filepath.Join(n.dir, "k")))
	config := containerd.Config{
		Address: n.containerd.Socket(), RunDir: filepath.Join(n.dir, "r"), Keeper: keeper, Handlers: n.handlers(),
	}
	for _, f := range change {
		f(&config)
	}
	rt, err := containerd.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return rt, func() {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
		if err := keeper.Close(); err != nil {
			t.Error(err)
		}
	}
}

// subject stops its last agent after the test's own cleanup.
func (n *node) subject(t *testing.T) runtimetest.Subject {
	t.Helper()
	current := n.agent(t)
	t.Cleanup(func() { current.stop() })
	return runtimetest.Subject{Runtime: current, Reopen: func(t *testing.T) runtime.Interface {
		current.stop()
		current = n.agent(t)
		return current
	}}
}

func (n *node) importImage(t testing.TB) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	a := n.agent(t)
	defer a.stop()
	if _, err := a.Import(t.Context(), bytes.NewReader(runtimetest.Archive(t, busybox))); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	n := newNode(t)
	n.importImage(t)
	runtimetest.Run(t, n.subject)
}
