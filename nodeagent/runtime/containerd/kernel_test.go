package containerd_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

const idle = "trap 'exit 0' TERM; echo ready; while true; do sleep 0.05; done"

// output runs a script in the container.
func output(p *runtimetest.Pod, id, script string) string {
	p.Helper()
	var out bytes.Buffer // of one stream only: two would write at the same time
	config := runtime.ExecConfig{Command: []string{"sh", "-c", script}}
	config.Stdout = &out
	if _, err := p.Runtime.Exec(p.Context(), id, config); err != nil {
		p.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// TestKernel is about what only a real runtime has.
func TestKernel(t *testing.T) {
	n := newNode(t)
	n.importImage(t)
	for _, tc := range []struct {
		name string
		run  func(*node, *runtimetest.Pod)
	}{
		{"one shim per pod", testShims},
		{"namespaces", testNamespaces},
		{"host namespaces", testHostNamespaces},
		{"shared process namespace", testSharedPID},
		{"limits", testLimits},
		{"read-only root", testReadonly},
		{"confinement", testConfinement},
		{"terminal", testTerminal},
		{"handlers", testHandlers},
		{"image volumes", testImageVolumes},
		{"fork bomb", testForkBomb},
		{"nothing is left", testNothingLeft},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.run(n, runtimetest.NewPod(t, n.subject(t), runtime.SandboxConfig{Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "1"}}))
		})
	}
}

func testShims(n *node, p *runtimetest.Pod) {
	other := runtimetest.NewPod(p.T, p.Subject, runtime.SandboxConfig{})
	for _, name := range []string{"a", "b", "c"} {
		p.Start(p.Config(name, idle))
	}
	other.Start(other.Config("d", idle))
	if got := n.shims(p.T); len(got) != 2 {
		p.Errorf("shims %v, want one for each of two pods", got)
	}
	// Removing one of several containers leaves the shim to the others.
	id := p.Start(p.Config("e", idle))
	if err := p.Runtime.Remove(p.Context(), id); err != nil {
		p.Error(err)
	}
	p.Start(p.Config("f", idle))
	if got := n.shims(p.T); len(got) != 2 {
		p.Errorf("shims %v after a restart in the pod", got)
	}
}

func testNamespaces(n *node, p *runtimetest.Pod) {
	a, b := p.Start(p.Config("a", idle)), p.Start(p.Config("b", idle))
	const script = "for n in net ipc uts; do readlink /proc/self/ns/$n; done"
	first, second := output(p, a, script), output(p, b, script)
	if first != second {
		p.Errorf("namespaces differ: %s and %s", first, second)
	}
	var pinned unix.Stat_t
	if err := unix.Stat(filepath.Join(n.dir, "r", "pods", p.UID, "net"), &pinned); err != nil {
		p.Fatal(err)
	}
	if want := fmt.Sprintf("net:[%d]", pinned.Ino); !strings.HasPrefix(first, want) {
		p.Errorf("namespaces %s, want the pinned %s", first, want)
	}
	if output(p, a, "readlink /proc/self/ns/pid") == output(p, b, "readlink /proc/self/ns/pid") {
		p.Error("process namespaces are the same")
	}
	if got := output(p, a, "cat /etc/hostname /proc/sys/net/ipv4/ip_unprivileged_port_start /sys/class/net/lo/flags"); got != "web-host\n1\n0x9" {
		p.Errorf("hostname, sysctl, loopback: %q", got)
	}
	if got := output(p, a, "echo shared > /dev/shm/x") + output(p, b, "cat /dev/shm/x"); got != "shared" {
		p.Errorf("/dev/shm: %q", got)
	}
}

func testHostNamespaces(_ *node, p *runtimetest.Pod) {
	host := runtimetest.NewPod(p.T, p.Subject, runtime.SandboxConfig{HostNetwork: true, HostPID: true, HostIPC: true})
	id := host.Start(host.Config("a", idle))
	for _, name := range []string{"net", "ipc", "uts", "pid"} {
		want, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil {
			p.Fatal(err)
		}
		if got := output(host, id, "readlink /proc/self/ns/"+name); got != want {
			p.Errorf("namespace %s, want the host's %s", got, want)
		}
	}
}

func testSharedPID(_ *node, p *runtimetest.Pod) {
	shared := runtimetest.NewPod(p.T, p.Subject, runtime.SandboxConfig{ShareProcessNamespace: true})
	a, b := shared.Start(shared.Config("a", idle)), shared.Start(shared.Config("b", idle))
	if first, second := output(shared, a, "readlink /proc/self/ns/pid"), output(shared, b, "readlink /proc/self/ns/pid"); first != second {
		p.Errorf("process namespaces %s and %s", first, second)
	}
	if got := output(shared, a, "cat /proc/1/cmdline"); !strings.HasPrefix(got, "pod-holder") {
		p.Errorf("first process %q", got)
	}
	// An orphan is collected by the kernel.
	orphan := output(shared, a, "sh -c 'sleep 0.05 & echo $!'")
	runtimetest.Await(p.T, "end of the orphan", func() bool {
		return output(shared, b, "[ -e /proc/"+orphan+" ] || echo gone") == "gone"
	})
	if err := shared.Runtime.Signal(p.Context(), a, int(unix.SIGKILL)); err != nil {
		p.Fatal(err)
	}
	shared.AwaitEvent(runtime.EventExited, a)
	if got := shared.Container(b); got.State != runtime.StateRunning {
		p.Errorf("the other container: %+v", got)
	}
	if err := shared.Runtime.StopSandbox(p.Context(), shared.UID); err != nil {
		p.Fatal(err)
	}
	if left := processes(p.T, "pod-holder"); len(left) > 0 {
		p.Errorf("holders are left: %v", left)
	}
}

func testLimits(_ *node, p *runtimetest.Pod) {
	config := p.Config("app", idle)
	config.Resources = runtime.Resources{MemoryLimit: 32 << 20, CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, PidsLimit: 64}
	config.OOMScoreAdj = -500
	id := p.Start(config)
	limit := func() string {
		for _, path := range []string{"/sys/fs/cgroup/memory/headway-runtimetest/%s/%s/memory.limit_in_bytes", "/sys/fs/cgroup/headway-runtimetest/%s/%s/memory.max"} {
			if text, err := os.ReadFile(fmt.Sprintf(path, p.UID, id)); err == nil {
				return strings.TrimSpace(string(text))
			}
		}
		return "no file"
	}
	if got := limit(); got != "33554432" {
		p.Errorf("memory limit %s", got)
	}
	if err := p.Runtime.Update(p.Context(), id, runtime.Resources{MemoryLimit: 48 << 20}); err != nil {
		p.Error(err)
	}
	if got := limit(); got != "50331648" {
		p.Errorf("memory limit %s after update", got)
	}
	p.AwaitLog("app", "ready")
	stats, err := p.Runtime.Stats(p.Context(), id)
	if err != nil || stats.CPUUsageNanoseconds == 0 || stats.MemoryUsage == 0 || stats.Pids == 0 || stats.MemoryWorkingSet > stats.MemoryUsage {
		p.Errorf("stats %+v, %v", stats, err)
	}
}

func testReadonly(_ *node, p *runtimetest.Pod) {
	config := p.Config("app", "touch /x && exit 1; touch /dev/shm/x && exit 0; exit 2")
	config.ReadonlyRootfs = true
	if got := p.RunToEnd(config); got.ExitCode != 0 {
		p.Errorf("%+v: %s", got, p.Log("app"))
	}
}

func testConfinement(_ *node, p *runtimetest.Pod) {
	const script = "grep -E 'CapBnd|NoNewPrivs|^Seccomp:' /proc/self/status"
	config := p.Config("app", script)
	config.CapDrop, config.CapAdd, config.NoNewPrivileges = []string{"ALL"}, []string{"NET_BIND_SERVICE"}, true
	p.RunToEnd(config)
	if got := strings.Join(strings.Fields(p.Log("app")), " "); got != "CapBnd: 0000000000000400 NoNewPrivs: 1 Seccomp: 2" {
		p.Errorf("confined: %s", got)
	}
	config = p.Config("root", script+"; cat /proc/self/attr/x 2>/dev/null; readlink /dev/null >/dev/null; [ -e /dev/kmsg ] && echo devices")
	config.Privileged = true
	p.RunToEnd(config)
	if got := p.Log("root"); !strings.Contains(got, "Seccomp:\t0") || !strings.Contains(got, "devices") {
		p.Errorf("privileged: %s", got)
	}
}

func testTerminal(_ *node, p *runtimetest.Pod) {
	config := p.Config("app", idle)
	config.TTY = true
	id := p.Start(config)
	p.AwaitLog("app", "ready")
	var out bytes.Buffer
	sizes := make(chan runtime.TerminalSize, 1)
	sizes <- runtime.TerminalSize{Width: 132, Height: 43}
	exec := runtime.ExecConfig{Command: []string{"sh", "-c", "[ -t 0 ] && [ -t 1 ] && echo terminal $TERM; until [ \"$(busybox stty size 2>/dev/null)\" = '43 132' ]; do sleep 0.01; done; exit 3"}}
	exec.Stdout, exec.TTY, exec.Resize, exec.Timeout = &out, true, sizes, runtimetest.Patience
	stdin, keyboard := io.Pipe() // nobody types, but the terminal is open
	defer func() { _ = keyboard.Close() }()
	exec.Stdin = stdin
	code, err := p.Runtime.Exec(p.Context(), id, exec)
	if err != nil || code != 3 || out.String() != "terminal xterm\r\n" {
		p.Errorf("exec with a terminal: %d, %v, %q", code, err, out.String())
	}
}

func testNothingLeft(n *node, p *runtimetest.Pod) {
	id := p.Start(p.Config("app", idle))
	if err := p.Runtime.RemoveSandbox(p.Context(), p.UID); err != nil {
		p.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		p.Fatal(err)
	}
	for _, what := range []string{p.UID, id} {
		if strings.Contains(string(mounts), what) {
			p.Errorf("mounts of %s are left", what)
		}
	}
	var left []string
	for _, pattern := range []string{"r/pods/*", "r/containers/*", "r/io/*", "c/run/state/io.containerd.runtime.v2.task/headway/*"} {
		files, err := filepath.Glob(filepath.Join(n.dir, pattern))
		if err != nil {
			p.Fatal(err)
		}
		left = append(left, files...)
	}
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*/headway-runtimetest/" + p.UID)
	if err != nil {
		p.Fatal(err)
	}
	if left = slices.Concat(left, cgroups); len(left) > 0 {
		p.Errorf("left: %v", left)
	}
	runtimetest.Await(p.T, "end of the shim", func() bool { return len(n.shims(p.T)) == 0 })
}
