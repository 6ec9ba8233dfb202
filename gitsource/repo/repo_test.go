package repo_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

func git(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Jane", "GIT_AUTHOR_EMAIL=j@x",
		"GIT_COMMITTER_NAME=Jane", "GIT_COMMITTER_EMAIL=j@x",
	}
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, problem.String())
	}
	return strings.TrimSpace(out.String())
}

// newRepo makes a repository with a working tree and one commit.
func newRepo(t *testing.T) string {
	dir := t.TempDir()
	git(t, dir, "", "init", "-q", "-b", "main")
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("a: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "", "add", "-A")
	git(t, dir, "", "commit", "-q", "-m", "first\n\nAllow-Delete: ns/shop\nallow-delete: all")
	return dir
}

func open(t *testing.T, path string) *repo.Repository {
	t.Helper()
	r, err := repo.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestResolve(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	head := git(t, dir, "", "rev-parse", "HEAD")
	git(t, dir, "", "tag", "-a", "-m", "x", "v1")
	git(t, dir, "", "branch", "env/prod/eu")
	git(t, dir, "", "worktree", "add", "-q", "-b", "side", filepath.Join(dir, "linked"))
	r := open(t, dir)
	for _, ref := range []v1alpha1.GitReference{{}, {Branch: "main"}, {Branch: "env/prod/eu"}, {Tag: "v1"}, {Commit: head}, {Name: "refs/heads/side"}} {
		if _, id, err := r.Resolve(ref); err != nil || id.String() != head {
			t.Errorf("%+v is %s, %v; want %s", ref, id, err, head)
		}
	}
	if _, _, err := r.Resolve(v1alpha1.GitReference{Branch: "none"}); !errors.Is(err, repo.ErrNoRef) {
		t.Errorf("a missing branch: %v", err)
	}
	if name, _, err := open(t, filepath.Join(dir, "linked")).Resolve(v1alpha1.GitReference{}); err != nil || name != "refs/heads/side" {
		t.Errorf("a linked working tree follows %s, %v", name, err)
	}
	if _, err := repo.Open(t.TempDir()); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("an empty directory: %v", err)
	}
	id, _ := repo.ParseID(head)
	c, err := r.Commit(id)
	if err != nil || len(c.Trailers("Allow-Delete")) != 2 {
		t.Errorf("trailers %v, %v", c.Trailers("Allow-Delete"), err)
	}
}

// TestPacked reads on while git packs, and unpacks, everything.
func TestPacked(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	r := open(t, dir)
	for range 3 {
		git(t, dir, "", "commit", "-q", "--allow-empty", "-m", "more")
		git(t, dir, "", "repack", "-q", "-a", "-d")
		git(t, dir, "", "pack-refs", "--all")
		git(t, dir, "", "prune-packed", "-q")
		_, id, err := r.Resolve(v1alpha1.GitReference{Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		if content, err := r.FileAt(id, "a.yaml"); err != nil || string(content) != "a: 1\n" {
			t.Fatalf("%q, %v", content, err)
		}
	}
}

// TestHostileNames: entries whose names could lead elsewhere are refused, the
// others are still read (threat 2).
func TestHostileNames(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	blob := git(t, dir, "x", "hash-object", "-w", "--stdin")
	raw, err := hex.DecodeString(blob)
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{"..", ".", ".git", ".GIT", ".git ", "git~1", ".g\u200cit", "a/b", "/etc/passwd", strings.Repeat("n", 4096), ""}
	var tree bytes.Buffer
	for _, name := range append(bad, "good.yaml") {
		tree.WriteString("100644 " + name + "\x00")
		tree.Write(raw)
	}
	path := filepath.Join(t.TempDir(), "tree")
	if err := os.WriteFile(path, tree.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	id, err := repo.ParseID(git(t, dir, "", "hash-object", "-w", "-t", "tree", "--literally", path))
	if err != nil {
		t.Fatal(err)
	}
	entries, refused, err := open(t, dir).Tree(id)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name != "good.yaml" || len(refused) != len(bad) {
		t.Fatalf("entries %v, refused %v", entries, refused)
	}
}

func TestWriteIsDeterministicAndCompares(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	r := open(t, dir)
	c := repo.NewCommit{Files: map[string][]byte{"STATUS.md": []byte("x"), "drift/a.md": []byte("y"), "drift.md": []byte("z")}, Name: "h", Email: "h@x", Time: time.Unix(1e9, 0), Message: "m"}
	one, err := r.Write(c)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := r.Write(c); err != nil || two != one {
		t.Fatalf("the same commit is %s and %s, %v", one, two, err)
	}
	if err := r.Update("refs/heads/headway/x", repo.ID{}, one); err != nil {
		t.Fatal(err)
	}
	if err := r.Update("refs/heads/headway/x", repo.ID{}, one); !errors.Is(err, repo.ErrRefMoved) {
		t.Fatalf("a second creation: %v", err)
	}
	git(t, dir, "", "fsck", "--strict")
	if got := git(t, dir, "", "ls-tree", "-r", "--name-only", "headway/x"); got != "STATUS.md\ndrift.md\ndrift/a.md" {
		t.Fatalf("git reads %q", got)
	}
}

func TestIsAncestor(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	first, _ := repo.ParseID(git(t, dir, "", "rev-parse", "HEAD"))
	git(t, dir, "", "commit", "-q", "--allow-empty", "-m", "second")
	second, _ := repo.ParseID(git(t, dir, "", "rev-parse", "HEAD"))
	r := open(t, dir)
	for _, c := range []struct {
		old, new repo.ID
		want     bool
	}{{first, second, true}, {second, first, false}, {first, first, true}} {
		if got, err := r.IsAncestor(t.Context(), c.old, c.new); err != nil || got != c.want {
			t.Errorf("%s in %s: %v, %v", c.old, c.new, got, err)
		}
	}
}
