package repo_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/gitsource/repo"
)

// TestWriteBundle: git itself reads what is written, all of history and what
// came since.
func TestWriteBundle(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	r, err := repo.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	commit := func(content string) repo.ID {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "large.yaml"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		git(t, dir, "", "add", "-A")
		git(t, dir, "", "commit", "-q", "-m", "large")
		id, err := repo.ParseID(git(t, dir, "", "rev-parse", "HEAD"))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	large := strings.Repeat("some: text that deltas like\n", 500)
	first := commit(large)
	second := commit(large + "more: 1\n")
	write := func(b repo.NewBundle) []byte {
		t.Helper()
		var out bytes.Buffer
		if err := r.WriteBundle(t.Context(), &out, b); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	refs := func(id repo.ID) map[string]repo.ID { return map[string]repo.ID{"refs/heads/main": id} }
	whole, since := write(repo.NewBundle{Refs: refs(first)}), write(repo.NewBundle{Refs: refs(second), Since: first})
	if len(since) > len(whole)+2048 {
		t.Errorf("%d bytes since the first commit, %d for all of it", len(since), len(whole))
	}
	file := filepath.Join(t.TempDir(), "b")
	bare := filepath.Join(t.TempDir(), "bare")
	git(t, "", "", "init", "-q", "--bare", "-b", "main", bare)
	for _, content := range [][]byte{whole, since} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		git(t, bare, "", "bundle", "verify", "-q", file)
		git(t, bare, "", "fetch", "-q", file, "main:main")
	}
	if got := git(t, bare, "", "rev-parse", "main"); got != second.String() {
		t.Errorf("git is at %s, want %s", got, second)
	}
	git(t, bare, "", "fsck", "--strict")

	// A scratch repository borrows the history before; nothing else moves.
	base := mirror(t)
	if _, err := repoStore(t, base, whole); err != nil {
		t.Fatal(err)
	}
	if _, err := repoStore(t, mirror(t), since); err == nil || !strings.Contains(err.Error(), "builds on commit "+first.String()) {
		t.Errorf("without what it builds on: %v", err)
	}
	scratch, err := repo.OpenScratch(filepath.Join(t.TempDir(), "s"), base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = scratch.Close() })
	got, err := repoStore(t, scratch, since)
	if err != nil || got["refs/heads/main"] != second {
		t.Errorf("stored %v, %v", got, err)
	}
	if content, err := scratch.FileAt(second, "large.yaml"); err != nil || string(content) != large+"more: 1\n" {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	if ok, err := scratch.IsAncestor(t.Context(), first, second); err != nil || !ok {
		t.Errorf("the first commit is no ancestor: %v", err)
	}
	if tip, err := base.Tip("refs/heads/main"); err != nil || !tip.IsZero() {
		t.Errorf("a branch of the lender has moved to %s, %v", tip, err)
	}
	if _, err := base.Commit(second); err == nil {
		t.Error("the lender has the commit")
	}
}

func repoStore(t *testing.T, r *repo.Repository, bundle []byte) (map[string]repo.ID, error) {
	t.Helper()
	return r.StoreBundle(t.Context(), bytes.NewReader(bundle))
}
