package gitsource_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// BenchmarkPush measures our own part of a push of one changed ConfigMap among
// n: resolve, render and plan, from the moved reference to the changes that
// the API server is asked for.
func BenchmarkPush(b *testing.B) {
	for _, n := range []int{120, 1000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCluster(b, b.TempDir())
			for i := range n {
				c.write(fmt.Sprintf("apps/%02d/cm-%d.yaml", i%40, i), configMap(fmt.Sprintf("cm-%d", i), "x"))
			}
			var ids [2]repo.ID
			ids[0], _ = repo.ParseID(c.push("first"))
			c.write("apps/00/cm-0.yaml", configMap("cm-0", "y"))
			ids[1], _ = repo.ParseID(c.push("second"))
			r, err := repo.Open(c.bare())
			if err != nil {
				b.Fatal(err)
			}
			renderer := render.New(render.Config{Repo: r, Mode: v1alpha1.RenderAuto, Key: []byte("k")})
			view, err := c.store.View(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			o := &v1alpha1.GitSource{}
			v1alpha1.SetDefaultsGitSource(o)
			in := plan.Input{Source: "main", Spec: &o.Spec, Inventory: plan.NewInventory(), View: view, Mapper: c.store.Mapper()}
			step := func(i int) int {
				if _, _, err := r.Resolve(v1alpha1.GitReference{Branch: "main"}); err != nil {
					b.Fatal(err)
				}
				set, problems, err := renderer.Render(b.Context(), ids[i%2])
				if err != nil || len(problems) > 0 {
					b.Fatal(err, problems)
				}
				in.Set = set
				p := plan.Make(in)
				notes := p.Next.Notes("main", in.Inventory)
				in.Inventory = p.Next
				return len(p.Stages[0].Changes) + 0*len(notes)
			}
			step(0)
			i := 1
			b.ReportAllocs()
			for b.Loop() {
				if got := step(i); got != 1 {
					b.Fatalf("%d changes, want 1", got)
				}
				i++
			}
		})
	}
}

// BenchmarkPushToStored measures from the end of git push to the object being
// in the store, on the emulator.
func BenchmarkPushToStored(b *testing.B) {
	c := newCluster(b, b.TempDir())
	defer c.stop()
	for i := range 120 {
		c.write(fmt.Sprintf("apps/%02d/cm-%d.yaml", i%40, i), configMap(fmt.Sprintf("cm-%d", i), "x"))
	}
	c.follow("main", nil)
	c.run()
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	var total time.Duration
	n := 0
	for b.Loop() {
		n++
		c.write("apps/00/cm-0.yaml", configMap("cm-0", fmt.Sprintf("v%d", n)))
		b.StopTimer()
		commit := c.push("next")
		begin := time.Now()
		b.StartTimer()
		c.phase("main", commit, v1alpha1.ReleaseHealthy)
		total += time.Since(begin)
	}
	b.ReportMetric(float64(total.Microseconds())/float64(n)/1000, "ms/push")
}
