package containerd_test

import (
	"path/filepath"
	"strings"

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
	if _, err := p.Runtime.MountImage(p.Context(), p.UID, "none", "no-such-image:v1"); err == nil {
		p.Error("mounted an image that is not there")
	}
	if err := p.Runtime.RemoveSandbox(p.Context(), p.UID); err != nil {
		p.Fatal(err)
	}
	if err := unix.Stat(filepath.Dir(path), &unix.Stat_t{}); err == nil {
		p.Errorf("%s is left", filepath.Dir(path))
	}
}
