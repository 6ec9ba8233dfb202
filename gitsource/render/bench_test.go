package render_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// BenchmarkMonorepo renders 1,000 apps of 4 objects: for the first time, and
// again when one line of one app has changed.
func BenchmarkMonorepo(b *testing.B) {
	dir := b.TempDir()
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	git := func(args ...string) {
		cmd := exec.CommandContext(b.Context(), "git", append([]string{"-c", "user.name=x", "-c", "user.email=x@x"}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("git %v: %v %s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	for i := range 1000 {
		for j := range 4 {
			write(fmt.Sprintf("team-%02d/app-%d/%d.yaml", i%40, i, j), fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app-%d-%d}\ndata: {a: b}\n", i, j))
		}
	}
	r, err := repo.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var ids [2]repo.ID
	for i := range ids {
		write("team-00/app-0/0.yaml", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app-0-0}\ndata: {a: c%d}\n", i))
		git("add", "-A")
		git("commit", "-q", "-m", "x")
		if _, ids[i], err = r.Resolve(v1alpha1.GitReference{Branch: "main"}); err != nil {
			b.Fatal(err)
		}
	}
	cfg := render.Config{Repo: r, Mode: v1alpha1.RenderAuto, Key: []byte("k")}
	once := func(renderer *render.Renderer, id repo.ID) {
		set, problems, err := renderer.Render(b.Context(), id)
		if err != nil || len(problems) > 0 || len(set.Objects) != 4000 {
			b.Fatal(err, problems)
		}
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			once(render.New(cfg), ids[0])
		}
	})
	b.Run("one changed", func(b *testing.B) {
		renderer := render.New(cfg)
		once(renderer, ids[0])
		n := 1
		for b.Loop() {
			once(renderer, ids[n%2])
			n++
		}
	})
}
