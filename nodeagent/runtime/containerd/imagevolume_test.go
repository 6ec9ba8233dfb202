package containerd_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

// testImageVolumes mounts an image for a pod; it goes with the sandbox.
func testImageVolumes(n *node, p *runtimetest.Pod) {
	path, err := p.Runtime.MountImage(p.Context(), p.UID, "data", runtimetest.ImageName)
	if err != nil {
		p.Fatal(err)
	}
	if again, err := p.Runtime.MountImage(p.Context(), p.UID, "data", runtimetest.ImageName); err != nil || again != path {
		p.Errorf("again: %q, %v", again, err)
	}
	config := p.Config("app", "cat /data/etc/group; touch /data/x && exit 1; exit 0")
	config.Mounts = []specs.Mount{{Source: path, Destination: "/data", Type: "bind", Options: []string{"rbind", "rprivate", "ro"}}}
	if got := p.RunToEnd(config); got.ExitCode != 0 || !strings.Contains(p.Log("app"), "app:x:1000:") {
		p.Errorf("%+v: %s", got, p.Log("app"))
	}
	// The agent that comes after leaves it as it is, and takes away a view whose
	// mount is not there.
	gone, err := p.Runtime.MountImage(p.Context(), p.UID, "gone", runtimetest.ImageName)
	if err != nil {
		p.Fatal(err)
	}
	if err := errors.Join(unix.Unmount(gone, 0), os.Remove(gone)); err != nil {
		p.Fatal(err)
	}
	again := n.agent(p.T)
	runtimetest.Await(p.T, "the other view to go", func() bool { return len(n.views(p)) == 1 })
	again.stop()
	if _, err := os.Stat(filepath.Join(path, "etc", "group")); err != nil {
		p.Error(err)
	}
	if list := n.views(p); len(list) != 1 || !strings.HasSuffix(list[0], "/image-data") {
		p.Errorf("views %v, want that of the mount", list)
	}
	if _, err := p.Runtime.MountImage(p.Context(), p.UID, "none", "no-such-image:v1"); err == nil {
		p.Error("mounted an image that is not there")
	}
	if err := p.Runtime.RemoveSandbox(p.Context(), p.UID); err != nil {
		p.Fatal(err)
	}
	if err := unix.Stat(filepath.Dir(path), &unix.Stat_t{}); err == nil {
		p.Errorf("%s is left", filepath.Dir(path))
	}
	if list := n.views(p); len(list) != 0 {
		p.Errorf("views %v are left", list)
	}
}

// views are the snapshots of image volumes.
func (n *node) views(p *runtimetest.Pod) (all []string) {
	p.Helper()
	c, err := client.New(n.containerd.Socket())
	if err != nil {
		p.Fatal(err)
	}
	defer c.Close()
	err = c.SnapshotService("overlayfs").Walk(namespaces.WithNamespace(p.Context(), "headway"), func(_ context.Context, info snapshots.Info) error {
		if strings.Contains(info.Name, "/image-") {
			all = append(all, info.Name)
		}
		return nil
	})
	if err != nil {
		p.Fatal(err)
	}
	return all
}
