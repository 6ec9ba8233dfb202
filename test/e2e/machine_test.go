package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// port is not the default one, so that a cluster of the person's own may
	// have that; a second node on the same machine is refused all the same.
	port = "16443"
	// patience is how long something may take that nobody announces.
	patience = time.Minute
	every    = 100 * time.Millisecond
)

// machine is this machine with a cluster on it.
type machine struct {
	t                    *testing.T
	program, data, clone string
}

// newMachine skips with the reason where no cluster can run.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a node needs root")
	}
	for _, program := range []string{"containerd", "runc", "iptables-save", "ip", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("this machine lacks %s: run hack/deps node test", program)
		}
	}
	program, err := filepath.Abs("../../bin/headway")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%v: run make build", err)
	}
	if out, err := exec.CommandContext(t.Context(), "ip", "link", "show", "hw0").CombinedOutput(); err == nil {
		t.Skipf("another node runs on this machine: %s", out)
	}
	// Short, since paths of sockets are.
	dir, err := os.MkdirTemp("", "hwtour")
	if err != nil {
		t.Fatal(err)
	}
	// A group of its own, so that another node's pods are not in the way.
	t.Setenv("HEADWAY_CGROUP", fmt.Sprintf("headway-tour%d", os.Getpid()))
	m := &machine{t: t, program: program, data: filepath.Join(dir, "d"), clone: filepath.Join(dir, "clone")}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own has ended
		defer cancel()
		if t.Failed() {
			m.keepLog()
		}
		if out, err := exec.CommandContext(ctx, program, "down", "--purge", "--data-dir", m.data).CombinedOutput(); err != nil && exists(m.data) {
			t.Errorf("clean up: %v: %s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return m
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// keepLog shows the end of what the server has said.
func (m *machine) keepLog() {
	const enough = 8 << 10
	text, err := os.ReadFile(filepath.Join(m.data, "headway.log"))
	if err == nil {
		m.t.Logf("the server's last words:\n%s", text[max(0, len(text)-enough):])
	}
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

// try runs a subcommand of the program in the clone.
func (m *machine) try(args ...string) result {
	m.t.Helper()
	if verb := args[0]; verb == "up" || verb == "down" {
		args = append(args, "--data-dir", m.data)
	}
	cmd := exec.CommandContext(m.t.Context(), m.program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(m.data, "admin.kubeconfig"), "NO_COLOR=1")
	if exists(m.clone) {
		cmd.Dir = m.clone
	}
	return run(m.t, cmd)
}

func run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", cmd, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// code runs a subcommand that must end with an exit status.
func (m *machine) code(want int, args ...string) result {
	m.t.Helper()
	r := m.try(args...)
	if r.code != want {
		m.t.Fatalf("headway %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), r.code, want, r.stdout, r.stderr)
	}
	return r
}

// ok runs a subcommand that must succeed, and gives its standard output.
func (m *machine) ok(args ...string) string {
	m.t.Helper()
	return m.code(0, args...).stdout
}

func (m *machine) git(dir string, args ...string) string {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), "git", args...)
	cmd.Dir = dir
	r := run(m.t, cmd)
	if r.code != 0 {
		m.t.Fatalf("git %s: %s%s", strings.Join(args, " "), r.stdout, r.stderr)
	}
	return r.stdout
}

// replace edits a file of the clone, as sed does.
func (m *machine) replace(file, from, to string) {
	m.t.Helper()
	path := filepath.Join(m.clone, file)
	text, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		m.t.Fatalf("%s has no %q", file, from)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) push(message string) {
	m.t.Helper()
	m.git(m.clone, "commit", "-qam", message)
	m.git(m.clone, "push", "-q")
}

// eventually waits for what nothing announces to a program outside.
func (m *machine) eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.After(patience); !reached(); {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", patience, what)
		case <-time.After(every):
		}
	}
}

// wantReport waits until a file of the report branch has all of these.
func (m *machine) wantReport(t *testing.T, file string, wants ...string) {
	t.Helper()
	m.eventually(t, file+" to tell of "+strings.Join(wants, ", "), func() bool {
		cmd := exec.CommandContext(t.Context(), "git", "fetch", "-q", "origin", "headway/headway")
		cmd.Dir = m.clone
		if run(t, cmd).code != 0 {
			return false // not written yet
		}
		text := m.git(m.clone, "show", "FETCH_HEAD:"+file)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				return false
			}
		}
		return true
	})
}

// reach asks the example by the Service's own address and by the node's port.
func (m *machine) reach(t *testing.T) {
	t.Helper()
	address := m.ok("kubectl", "get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}")
	node := m.ok("kubectl", "get", "node", "tour", "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
	pods := map[string]bool{}
	for _, url := range []string{"http://" + address, "http://" + node + ":30080"} {
		for range 20 {
			pods[get(t, url)] = true
		}
	}
	if len(pods) < 2 {
		t.Errorf("40 requests were all answered by one pod: %v", pods)
	}
}

// get makes one request on a connection of its own.
func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "hello from a cluster that follows git") {
		t.Errorf("GET %s: %s %q", url, answer.Status, text)
	}
	return string(text)
}
