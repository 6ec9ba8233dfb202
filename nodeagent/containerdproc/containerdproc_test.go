package containerdproc_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/containerdproc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLife(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	if _, err := exec.LookPath("containerd"); err != nil {
		t.Skip("containerd is not installed")
	}
	dir, err := os.MkdirTemp("", "ctrd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := containerdproc.Config{Dir: dir, Cgroup: "/headway-test-" + strings.TrimPrefix(dir, "/tmp/")}
	p, err := containerdproc.New(config)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %v", time.Since(start).Round(time.Millisecond))
	pid := p.PID()
	again, err := containerdproc.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again.PID() != pid {
		t.Errorf("started twice: %d and %d", pid, again.PID())
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d, %v; want its own", sid, err)
	}
	if memory, err := exec.Command("grep", "Rss", fmt.Sprintf("/proc/%d/status", pid)).Output(); err == nil {
		t.Log(strings.Join(strings.Fields(string(memory)), " "))
	}

	// A killed containerd is started again by Run.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "new process", func() bool { now := p.PID(); return now != 0 && now != pid })
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.PID() != 0 {
		t.Error("still there after Stop")
	}
	if mounts, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left below %s, %v", dir, err)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(20 * time.Second)
	for !done() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("%s: not in 20 s", what)
		}
	}
}
