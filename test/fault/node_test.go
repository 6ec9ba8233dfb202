package fault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/internal/imagebuild"
)

const (
	workerImage = "example.org/worker:1"
	nodeAddress = "10.79.22.1"
)

// node is a server with its agent, in a network namespace of its own.
type node struct {
	*server
	namespace string
	nodeDir   string // the agent's data directory
	worker    string // the containers' program, for use outside them
}

// startNode starts a server with its agent. It skips, with the reason, on
// machines that cannot run containers.
func startNode(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	n.start()
	n.ready()
	n.load()
	return n
}

// newNode makes a node that is not started yet.
func newNode(t *testing.T) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("running containers needs root")
	}
	for _, program := range []string{"containerd", "runc", "iptables-restore", "ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("this machine lacks %s", program)
		}
	}
	n := &node{server: newServer(t), namespace: fmt.Sprintf("hwf-%d-n", os.Getpid())}
	// Short, since paths of sockets are.
	dir, err := os.MkdirTemp("/tmp", "hwf")
	check(t, err)
	n.dir, n.nodeDir = dir, dir
	n.prefix = []string{"nsenter", "--net=/run/netns/" + n.namespace}
	n.args = append(n.args, "--data-dir", dir, "--bind-address", nodeAddress, "--advertise-address", nodeAddress, "--node-name", "n1", "--cgroup", n.namespace)
	t.Cleanup(n.clean)
	for _, line := range []string{
		"ip netns add " + n.namespace, "ip -n " + n.namespace + " link set lo up", "ip -n " + n.namespace + " link add up0 type bridge",
		"ip -n " + n.namespace + " addr add " + nodeAddress + "/24 dev up0", "ip -n " + n.namespace + " link set up0 up",
		"ip -n " + n.namespace + " route add default via 10.79.22.254",
	} {
		command(t, strings.Fields(line)...)
	}
	n.dial = n.dialInside
	n.worker = filepath.Join(dir, "worker")
	build := exec.Command("go", "build", "-o", n.worker, "./testdata/worker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the worker: %v\n%s", err, out)
	}
	return n
}

// load gives the node the containers' image.
func (n *node) load() {
	n.t.Helper()
	archive := filepath.Join(n.dir, "worker.tar")
	file, err := os.Create(archive)
	check(n.t, err)
	check(n.t, imagebuild.WriteArchive(file, imagebuild.Image{Reference: workerImage, Architecture: goruntime.GOARCH,
		Files: []imagebuild.File{{Path: "/worker", Source: n.worker, Mode: 0o755}}, Config: v1.Config{Entrypoint: []string{"/worker"}}}))
	check(n.t, file.Close())
	eventually(n.t, "load the image", func() string {
		if out, err := exec.Command(binary, "image", "load", "--data-dir", n.nodeDir, archive).CombinedOutput(); err != nil {
			return string(out)
		}
		return ""
	})
}

func command(t testing.TB, line ...string) string {
	t.Helper()
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
	}
	return string(out)
}

// dialInside connects from within the namespace. A socket stays where it was
// made.
func (n *node) dialInside(ctx context.Context, network, address string) (net.Conn, error) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	inside, err := os.Open("/run/netns/" + n.namespace)
	if err != nil {
		return nil, err
	}
	defer inside.Close()
	if err := unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return conn, errors.Join(err, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
}

// inside makes a command that runs in the namespace, as the administrator.
func (n *node) inside(line ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + n.namespace}, line...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(n.dir, "admin.kubeconfig"))
	return cmd
}

// pids finds processes by the words of their command line.
func pids(words ...string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte(strings.Join(words, "\x00"))) {
			out = append(out, pid)
		}
	}
	return out
}

// containerd is the process id of the node's containerd.
func (n *node) containerd() int {
	n.t.Helper()
	found := pids("--config", filepath.Join(n.nodeDir, "containerd", "config.toml"))
	if len(found) != 1 {
		n.t.Fatalf("there are %d containerds: %v", len(found), found)
	}
	return found[0]
}

// logKeeper is the process id of who writes the containers' logs.
func (n *node) logKeeper() int {
	n.t.Helper()
	found := pids(binary, "logkeeper")
	found = slices.DeleteFunc(found, func(pid int) bool {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err != nil || !bytes.Contains(line, []byte(n.dir))
	})
	if len(found) != 1 {
		n.t.Fatalf("there are %d log keepers: %v", len(found), found)
	}
	return found[0]
}

// clean leaves nothing of the node behind. All of its processes name the data
// directory or, inside containers, the namespace.
func (n *node) clean() {
	n.kill()
	for _, word := range []string{n.dir, n.namespace} {
		for _, pid := range pids(word) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
		}
	}
	eventually(n.t, "the node's processes end", func() string {
		if left := append(pids(n.dir), pids(n.namespace)...); len(left) > 0 {
			return fmt.Sprint(left)
		}
		return ""
	})
	mounts, err := os.ReadFile("/proc/self/mounts")
	check(n.t, err)
	lines := strings.Split(string(mounts), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], n.dir+"/") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH) // what is left is told by RemoveAll
		}
	}
	if out, err := exec.Command("ip", "netns", "del", n.namespace).CombinedOutput(); err != nil {
		n.t.Errorf("delete the namespace: %v %s", err, out)
	}
	check(n.t, os.RemoveAll(n.dir))
	if !n.t.Failed() {
		check(n.t, os.Remove(n.logPath()))
	}
	n.removeCgroups()
}

// removeCgroups removes the node's groups, the inner ones first.
func (n *node) removeCgroups() {
	for _, pattern := range []string{"/sys/fs/cgroup/" + n.namespace, "/sys/fs/cgroup/*/" + n.namespace} {
		roots, err := filepath.Glob(pattern)
		check(n.t, err)
		for _, root := range roots {
			var dirs []string
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			slices.Reverse(dirs)
			for _, dir := range dirs {
				_ = os.Remove(dir) // a group that is still busy stays
			}
		}
	}
}
