package repo_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

func git(t testing.TB, dir, stdin string, args ...string) string {
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

// TestRestore compares what Restore writes with what git itself makes of the
// same change: modes are kept, and directories that become empty go.
func TestRestore(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(message string) repo.ID {
		t.Helper()
		git(t, dir, "", "add", "-A")
		git(t, dir, "", "commit", "-q", "-m", message)
		id, err := repo.ParseID(git(t, dir, "", "rev-parse", "HEAD"))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	write("apps/web/run.sh", "one", 0o755)
	write("apps/web/sub/deep.yaml", "one", 0o644)
	write("other/x.yaml", "one", 0o644)
	good := commit("good")
	git(t, dir, "", "rm", "-q", "-r", "apps/web/sub")
	write("apps/web/run.sh", "two", 0o755)
	write("apps/new/y.yaml", "two", 0o644)
	write("other/x.yaml", "two", 0o644)
	bad := commit("bad")
	r := open(t, dir)
	for name, paths := range map[string][]string{
		"a directory":           {"apps"},
		"a directory below":     {"apps/web"},
		"what came new":         {"apps/new"},
		"a file":                {"apps/web/run.sh"},
		"several":               {"apps/web", "other"},
		"everything":            {"."},
		"nothing that is there": {"no/such/thing"},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := r.Restore(repo.NewCommit{Parent: bad, Name: "x", Email: "x@x", Time: time.Unix(1, 0), Message: "restore"}, good, paths)
			if err != nil {
				t.Fatal(err)
			}
			clone := t.TempDir()
			git(t, clone, "", "clone", "-q", dir, ".")
			git(t, clone, "", "fetch", "-q", "origin", bad.String())
			git(t, clone, "", "checkout", "-q", bad.String())
			for _, p := range paths {
				if _, err := os.Stat(filepath.Join(clone, p)); err == nil {
					git(t, clone, "", "rm", "-q", "-r", p)
				}
				if git(t, clone, "", "ls-tree", good.String(), p) != "" || p == "." {
					git(t, clone, "", "checkout", "-q", good.String(), "--", p)
				}
			}
			want := git(t, clone, "", "write-tree")
			if got := git(t, dir, "", "rev-parse", id.String()+"^{tree}"); got != want {
				t.Errorf("tree %s:\n%s\nwant %s:\n%s", got, git(t, dir, "", "ls-tree", "-r", got), want, git(t, clone, "", "ls-tree", "-r", want))
			}
		})
	}
}

// TestRefsBesideLocks reads references while git is about to move some.
func TestRefsBesideLocks(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	head := git(t, dir, "", "rev-parse", "HEAD")
	git(t, dir, "", "tag", "-a", "-m", "x", "v1")
	git(t, dir, "", "branch", "a/b")
	git(t, dir, "", "pack-refs", "--all")
	git(t, dir, "", "branch", "loose")
	for _, name := range []string{"refs/heads/main.lock", "refs/heads/new.lock"} {
		if err := os.WriteFile(filepath.Join(dir, ".git", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	refs, err := open(t, dir).Refs(func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for name, id := range refs {
		if id.String() != head {
			t.Errorf("%s is at %s, want the commit %s", name, id, head)
		}
		got = append(got, name)
	}
	slices.Sort(got)
	if want := []string{"refs/heads/a/b", "refs/heads/loose", "refs/heads/main", "refs/tags/v1"}; !slices.Equal(got, want) {
		t.Errorf("references %v, want %v", got, want)
	}
}
