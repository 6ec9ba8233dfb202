package watch_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/headway-sh/headway/gitsource/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=x", "-c", "user.email=x@x"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v %s", args, err, out)
	}
}

// TestRefs: every way in which git moves a reference is seen.
func TestRefs(t *testing.T) {
	dir := t.TempDir()
	bare, work := filepath.Join(dir, "r.git"), filepath.Join(dir, "work")
	changed := make(chan struct{}, 1)
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- watch.Refs(ctx, bare, bare, func() { close(ready) }, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	<-ready
	seen := func(what string, do func()) {
		t.Helper()
		for len(changed) > 0 {
			<-changed
		}
		do()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s was not seen", what)
		}
	}
	seen("the repository's creation", func() { git(t, dir, "init", "-q", "--bare", "-b", "main", "r.git") })
	git(t, dir, "clone", "-q", bare, work)
	git(t, work, "commit", "-q", "--allow-empty", "-m", "x")
	seen("the first push", func() { git(t, work, "push", "-q", "origin", "HEAD") })
	seen("a branch with slashes", func() { git(t, work, "push", "-q", "origin", "HEAD:refs/heads/env/prod/eu") })
	git(t, work, "commit", "-q", "--allow-empty", "-m", "y")
	seen("a push into it", func() { git(t, work, "push", "-q", "origin", "HEAD:refs/heads/env/prod/eu") })
	seen("packing", func() { git(t, bare, "pack-refs", "--all", "--prune") })
	git(t, work, "commit", "-q", "--allow-empty", "-m", "z")
	seen("a push after packing", func() { git(t, work, "push", "-q", "origin", "HEAD:refs/heads/env/prod/eu") })
	seen("a deletion", func() { git(t, work, "push", "-q", "origin", ":refs/heads/env/prod/eu") })
	seen("the repository going away", func() {
		if err := os.Rename(bare, bare+".away"); err != nil {
			t.Fatal(err)
		}
	})
	seen("the repository coming back", func() {
		if err := os.Rename(bare+".away", bare); err != nil {
			t.Fatal(err)
		}
	})
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
