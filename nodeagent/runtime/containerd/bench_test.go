package containerd_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

// BenchmarkPod is a pod with one container, from nothing until its process
// runs, in its three steps; and its removal.
func BenchmarkPod(b *testing.B) {
	n := newNode(b)
	n.importImage(b)
	a := n.agent(b)
	defer a.stop()
	ctx := b.Context()
	steps := map[string]time.Duration{}
	timed := func(step string, f func() error) {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		steps[step] += time.Since(start)
	}
	for i := 0; b.Loop(); i++ {
		uid := fmt.Sprintf("bench-%d", i)
		var id string
		timed("sandbox", func() error {
			_, err := a.StartSandbox(ctx, runtime.SandboxConfig{PodUID: uid, Hostname: "bench", CgroupParent: "/headway-runtimetest/" + uid})
			return err
		})
		timed("create", func() (err error) {
			id, err = a.Create(ctx, runtime.ContainerConfig{
				PodUID: uid, Name: "app", Image: runtimetest.ImageName, Command: []string{"sleep", "1000"},
				LogPath: filepath.Join(n.dir, "logs", uid, "0.log"),
			})
			return err
		})
		timed("start", func() error { return a.Start(ctx, id) })
		timed("remove", func() error { return a.RemoveSandbox(ctx, uid) })
	}
	for step, took := range steps {
		b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), step+"-ms/op")
	}
}
