package containerd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/internal/failpoint"
	"github.com/headway-sh/headway/nodeagent/logkeeper"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

const (
	agentVariable = "CONTAINERD_TEST_AGENT"
	podUID        = "restarted"

	// writing is about 1 MB/s of numbered lines.
	writing = `i=0; while true; do seq $i $((i+9999)); i=$((i+10000)); sleep 0.05; done`
	// untilTold ends when the file is there.
	untilTold = `while [ ! -e /shared/%s ]; do sleep 0.01; done; exit %d`
	// orphan can be told from other processes by its number.
	orphan = "424242"
)

// agentProcess is a life of the agent that ends by being killed: it starts a
// pod and an exec, says so and goes on.
func agentProcess(ctx context.Context, address, dir string) error {
	rt, err := containerd.New(containerd.Config{
		Address: address, RunDir: filepath.Join(dir, "r"), LogMaxSize: 1 << 30,
		Keeper: logkeeper.NewClient(logkeeper.Socket(filepath.Join(dir, "k"))),
	})
	if err != nil {
		return err
	}
	if _, err := rt.StartSandbox(ctx, runtime.SandboxConfig{PodUID: podUID, CgroupParent: "/headway-runtimetest/" + podUID}); err != nil {
		return err
	}
	ids := map[string]string{}
	for name, script := range map[string]string{"writer": writing, "job": fmt.Sprintf(untilTold, "job", 9)} {
		id, err := rt.Create(ctx, runtime.ContainerConfig{
			PodUID: podUID, Name: name, Image: runtimetest.ImageName, Command: []string{"sh", "-c", script},
			LogPath: filepath.Join(dir, name+".log"), Mounts: []specs.Mount{shared(dir)},
		})
		if err != nil {
			return err
		}
		if err := rt.Start(ctx, id); err != nil {
			return err
		}
		ids[name] = id
	}
	ended := make(chan error, 1)
	go func() {
		config := runtime.ExecConfig{Command: []string{"sh", "-c", "sleep 0.1; echo ready; exec sleep " + orphan}}
		config.Stdout = os.Stdout
		_, err := rt.Exec(ctx, ids["writer"], config)
		ended <- err
	}()
	if err := rt.Run(ctx); err != nil {
		return err
	}
	return <-ended
}

func shared(dir string) specs.Mount {
	return specs.Mount{Destination: "/shared", Type: "bind", Source: filepath.Join(dir, "shared"), Options: []string{"rbind", "rw"}}
}

func (n *node) tell(t *testing.T, what string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, "shared", what), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (n *node) killContainerd(t *testing.T) {
	t.Helper()
	if err := unix.Kill(n.containerd.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	runtimetest.Await(t, "end of containerd", func() bool { return n.containerd.PID() == 0 })
}

func (n *node) restartable(t *testing.T) {
	t.Helper()
	n.importImage(t)
	if err := os.Mkdir(filepath.Join(n.dir, "shared"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// startAgentProcess returns when the pod runs.
func (n *node) startAgentProcess(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], n.containerd.Socket(), n.dir)
	cmd.Env = append(os.Environ(), agentVariable+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it was killed already, unless the test failed
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("agent process: %q, %v", line, err)
	}
	return cmd
}

func processes(t *testing.T, argument string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.HasSuffix(append([]byte{0}, line...), []byte("\x00"+argument+"\x00")) {
			found = append(found, file)
		}
	}
	return found
}

// TestEverythingIsKilled kills the agent and containerd while one container
// writes, one ends meanwhile and an exec is open.
func TestEverythingIsKilled(t *testing.T) {
	n := newNode(t)
	n.restartable(t)
	cmd := n.startAgentProcess(t)
	reader, closeReader := n.open(t) // it only looks: running, it would end the exec
	before := byName(t, reader)
	closeReader()
	runtimetest.Await(t, "exec", func() bool { return len(processes(t, orphan)) == 1 })

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	n.killContainerd(t)
	killed := time.Now()
	n.tell(t, "job")
	job := fmt.Sprintf("/proc/%d", before["job"].PID)
	runtimetest.Await(t, "end of the job", func() bool {
		_, err := os.Stat(job)
		return os.IsNotExist(err)
	})
	logPath := before["writer"].LogPath
	size := fileSize(t, logPath)
	runtimetest.Await(t, "writing without agent and containerd", func() bool { return fileSize(t, logPath) > size+1<<20 })

	restarted := time.Now()
	if err := n.containerd.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := n.agent(t)
	defer a.stop()
	after := byName(t, a.Runtime)
	if after["writer"].PID != before["writer"].PID || after["writer"].State != runtime.StateRunning || !after["writer"].Started.Equal(before["writer"].Started) {
		t.Errorf("writer before %+v, after %+v", before["writer"], after["writer"])
	}
	got := after["job"]
	if got.State != runtime.StateExited || got.ExitCode != 9 || got.Finished.Before(killed) || got.Finished.After(restarted) {
		t.Errorf("job: %+v; killed %v, restarted %v", got, killed, restarted)
	}
	runtimetest.Await(t, "end of the orphaned exec", func() bool { return len(processes(t, orphan)) == 0 })
	size = fileSize(t, logPath)
	runtimetest.Await(t, "writing after the restart", func() bool { return fileSize(t, logPath) > size+1<<20 })
	if err := a.RemoveSandbox(t.Context(), podUID); err != nil {
		t.Fatal(err)
	}
	checkNumbers(t, logPath)
}

func byName(t *testing.T, a *containerd.Runtime) map[string]runtime.Container {
	t.Helper()
	_, list, err := a.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]runtime.Container{}
	for _, c := range list {
		found[c.Name] = c
	}
	if len(found) != 2 {
		t.Fatalf("containers %+v", found)
	}
	return found
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// checkNumbers checks that every line of the writer is there, in order.
func checkNumbers(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // only read from
	want := 0
	for lines := bufio.NewScanner(file); lines.Scan(); want++ {
		fields := strings.Fields(lines.Text())
		if fields[2] == "P" {
			break // the last one, cut off when the writer was killed
		}
		if fields[3] != strconv.Itoa(want) {
			t.Fatalf("line %d is %q", want, lines.Text())
		}
	}
	t.Logf("%d lines, none lost", want)
}

// TestExecOutlivesContainerd kills containerd under an agent that lives.
func TestExecOutlivesContainerd(t *testing.T) {
	n := newNode(t)
	n.restartable(t)
	s := n.subject(t)
	p := runtimetest.NewPod(t, s, runtime.SandboxConfig{})
	config := p.Config("app", fmt.Sprintf(untilTold, "app", 4))
	config.Mounts = []specs.Mount{shared(n.dir)}
	id := p.Start(config)
	var stdout bytes.Buffer
	type result struct {
		code int
		err  error
	}
	ended := make(chan result, 1)
	started, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		exec := runtime.ExecConfig{Command: []string{"sh", "-c", "echo begun >&2; " + strings.Replace(fmt.Sprintf(untilTold, "exec", 6), "exit", "echo done; exit", 1)}}
		exec.Stdout, exec.Stderr = &stdout, out
		code, err := p.Runtime.Exec(t.Context(), id, exec)
		ended <- result{code, err}
	}()
	if _, err := bufio.NewReader(started).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	n.killContainerd(t)
	if err := n.containerd.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.AwaitEvent(runtime.EventResync, "")
	n.tell(t, "exec")
	if got := <-ended; got.err != nil || got.code != 6 {
		t.Errorf("exec: %d, %v", got.code, got.err)
	}
	if diff := cmp.Diff("done\n", stdout.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	n.tell(t, "app")
	if e := p.AwaitEvent(runtime.EventExited, id); e.ExitCode != 4 {
		t.Errorf("event %+v", e)
	}
}

// TestInterruptedCreate is an agent that dies inside Create.
func TestInterruptedCreate(t *testing.T) {
	n := newNode(t)
	n.importImage(t)
	s := n.subject(t)
	p := runtimetest.NewPod(t, s, runtime.SandboxConfig{})
	for _, point := range []string{"containerd.snapshot.prepared", "containerd.create.after"} {
		clear, err := failpoint.Set(point, "error")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Runtime.Create(t.Context(), p.Config("app", "exit 3")); !failpoint.Is(err) {
			t.Errorf("%s: %v", point, err)
		}
		clear()
		// The next life finds it or makes it anew, whichever it has to.
		p.Runtime = p.Reopen(t)
		p.Events = p.Runtime.Events(t.Context())
		id := p.Start(p.Config("app", "exit 3"))
		runtimetest.Await(t, "exit", func() bool { return p.Container(id).State == runtime.StateExited })
		if err := p.Runtime.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}
