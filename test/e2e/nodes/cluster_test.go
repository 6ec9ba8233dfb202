// Package nodes_test drives a cluster of several machines, each in a network
// namespace of its own, by the built binary: machines join, their pods reach
// each other, and a lost one is noticed.
package nodes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/imagebuild"
)

const (
	// patience is how long anything may take before the test gives up.
	patience  = time.Minute
	peerImage = "example.org/peer:1"
	cidr      = "10.90.0.0/24"
)

// cluster is one that `headway dev` has made.
type cluster struct {
	headway, dir string
	client.WithWatch
}

// start makes a cluster of two nodes with the image, and takes it away with
// the test.
func start(t *testing.T) *cluster {
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
	c := &cluster{headway: binary(t, "github.com/headway-sh/headway/cmd/headway", os.Getenv("HEADWAY_BIN")), dir: dir}
	image := archive(t)
	t.Cleanup(func() { c.stop(t) })
	c.dev(t, "--nodes", "2", "--cidr", cidr)
	for _, node := range []string{"node-1", "node-2"} {
		c.run(t, "image", "load", "--data-dir", filepath.Join(dir, node), image)
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	if c.WithWatch, err = client.NewWithWatch(config, client.Options{Scheme: clientgoscheme.Scheme}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "server-1", "admin.kubeconfig") }

// stop ends the cluster and checks that nothing is left.
func (c *cluster) stop(t *testing.T) {
	t.Helper()
	if t.Failed() {
		for _, m := range []string{"server-1", "node-1", "node-2"} {
			text, _ := os.ReadFile(filepath.Join(c.dir, m+".log"))
			t.Logf("%s:\n%s", m, text[max(0, len(text)-8000):])
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, c.headway, "dev", "down", "--purge", "--data-dir", c.dir).CombinedOutput(); err != nil {
		t.Errorf("dev down: %v\n%s", err, out)
	}
	for _, file := range []string{"/proc/self/mountinfo", "/proc/net/dev"} {
		text, err := os.ReadFile(file)
		if err != nil || bytes.Contains(text, []byte(c.dir)) || bytes.Contains(text, []byte(" hwd")) {
			t.Errorf("something of the cluster is left in %s: %v\n%s", file, err, text)
		}
	}
	if _, err := os.Stat(c.dir); err == nil {
		t.Errorf("%s is left", c.dir)
	}
}

// dev runs `headway dev` with the arguments.
func (c *cluster) dev(t *testing.T, args ...string) {
	t.Helper()
	c.run(t, append([]string{"dev", "--data-dir", c.dir}, args...)...)
}

// run runs the binary to its good end.
func (c *cluster) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.try(t, args...)
	if err != nil {
		t.Fatalf("headway %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cluster) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.headway, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// exec runs the peer program in a pod.
func (c *cluster) exec(t *testing.T, pod string, args ...string) (string, error) {
	t.Helper()
	return c.try(t, append([]string{"kubectl", "exec", pod, "--", "/peer"}, args...)...)
}

// binary is the program that is there already, or one built now.
func binary(t *testing.T, pkg, there string) string {
	t.Helper()
	if there != "" {
		return there
	}
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// archive is the peer program as an image.
func archive(t *testing.T) string {
	t.Helper()
	peer := binary(t, "./testdata/peer", "")
	path := filepath.Join(t.TempDir(), "peer.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = imagebuild.WriteArchive(f, imagebuild.Image{Reference: peerImage, Architecture: runtime.GOARCH,
		Files: []imagebuild.File{{Path: "/peer", Source: peer, Mode: 0o755}}, Config: v1.Config{Entrypoint: []string{"/peer"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// await watches objects of a list until done says so of their newest states,
// by name.
func await[T client.Object](t *testing.T, c *cluster, what string, list client.ObjectList, done func(map[string]T) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
