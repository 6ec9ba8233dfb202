// Package machines makes a cluster of several machines for tests, each in a
// network namespace of its own, by the built binary.
package machines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/imagebuild"
	"github.com/headway-sh/headway/test/e2e/testserver"
)

const (
	// Patience is how long anything may take before the test gives up.
	Patience = time.Minute
	// PeerImage is the image of test/e2e/peer, which every node has.
	PeerImage = "example.org/peer:1"
)

// Cluster is one that `headway dev` has made: server-1, node-1, node-2 and so on.
type Cluster struct {
	// Headway is the program, and Dir where the machines are kept.
	Headway, Dir string
	client.WithWatch
	names []string
}

// Start makes a cluster of so many nodes in a range of addresses, and takes it
// away with the test.
func Start(t *testing.T, nodes int, cidr string) *Cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces and containers need root")
	}
	for _, tool := range []string{"containerd", "runc", "iptables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v: containers cannot run", err)
		}
	}
	dir, err := os.MkdirTemp("", "hw") // short, for there are sockets in it
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Headway: testserver.Binary(t), Dir: dir, names: []string{"server-1"}}
	image := Archive(t, PeerImage)
	t.Cleanup(func() { c.stop(t) })
	c.Dev(t, "--nodes", strconv.Itoa(nodes), "--cidr", cidr)
	for i := range nodes {
		node := fmt.Sprint("node-", i+1)
		c.names = append(c.names, node)
		c.Run(t, "image", "load", "--data-dir", filepath.Join(dir, node), image)
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	if c.WithWatch, err = client.NewWithWatch(config, client.Options{Scheme: clientgoscheme.Scheme}); err != nil {
		t.Fatal(err)
	}
	return c
}

// Kubeconfig is the administrator's.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.Dir, "server-1", "admin.kubeconfig") }

// stop ends the cluster and checks that nothing is left.
func (c *Cluster) stop(t *testing.T) {
	t.Helper()
	if t.Failed() {
		for _, m := range c.names {
			text, _ := os.ReadFile(filepath.Join(c.Dir, m+".log"))
			t.Logf("%s:\n%s", m, text[max(0, len(text)-8000):])
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, c.Headway, "dev", "down", "--purge", "--data-dir", c.Dir).CombinedOutput(); err != nil {
		t.Errorf("dev down: %v\n%s", err, out)
	}
	for _, file := range []string{"/proc/self/mountinfo", "/proc/net/dev"} {
		text, err := os.ReadFile(file)
		if err != nil || bytes.Contains(text, []byte(c.Dir)) || bytes.Contains(text, []byte(" hwd")) {
			t.Errorf("something of the cluster is left in %s: %v\n%s", file, err, text)
		}
	}
	if _, err := os.Stat(c.Dir); err == nil {
		t.Errorf("%s is left", c.Dir)
	}
}

// Dev runs `headway dev` with the arguments.
func (c *Cluster) Dev(t *testing.T, args ...string) {
	t.Helper()
	c.Run(t, append([]string{"dev", "--data-dir", c.Dir}, args...)...)
}

// Run runs the binary to its good end.
func (c *Cluster) Run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.Try(t, args...)
	if err != nil {
		t.Fatalf("headway %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs the binary, and gives what it says.
func (c *Cluster) Try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Headway, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Exec runs the peer program in a pod.
func (c *Cluster) Exec(t *testing.T, pod string, args ...string) (string, error) {
	t.Helper()
	return c.Try(t, append([]string{"kubectl", "exec", pod, "--", "/peer"}, args...)...)
}

// Archive is the peer program as an image of a name.
func Archive(t *testing.T, reference string) string {
	t.Helper()
	peer := filepath.Join(t.TempDir(), "peer")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", peer, "github.com/headway-sh/headway/test/e2e/peer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the peer: %v\n%s", err, out)
	}
	path := filepath.Join(t.TempDir(), "peer.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = imagebuild.WriteArchive(f, imagebuild.Image{Reference: reference, Architecture: runtime.GOARCH,
		Files: []imagebuild.File{{Path: "/peer", Source: peer, Mode: 0o755}}, Config: v1.Config{Entrypoint: []string{"/peer"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Await watches objects of a list until done says so of their newest states,
// by name.
func Await[T client.Object](t *testing.T, c *Cluster, what string, list client.ObjectList, done func(map[string]T) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	w, err := c.Watch(ctx, list, client.InNamespace(corev1.NamespaceAll))
	if err != nil {
		t.Fatalf("watch for %s: %v", what, err)
	}
	defer w.Stop()
	now := map[string]T{}
	for {
		select {
		case <-ctx.Done():
			for _, o := range now {
				o.SetManagedFields(nil)
			}
			text, _ := json.MarshalIndent(now, "", " ")
			t.Fatalf("%s: did not happen; there is %s", what, text)
		case event, ok := <-w.ResultChan():
			if !ok {
				t.Fatalf("%s: the watch ended", what)
			}
			o, ok := event.Object.(T)
			if !ok {
				t.Fatalf("%s: the watch tells %v", what, event.Object)
			}
			now[o.GetName()] = o
			if event.Type == "DELETED" {
				delete(now, o.GetName())
			}
			if done(now) {
				return
			}
		}
	}
}
