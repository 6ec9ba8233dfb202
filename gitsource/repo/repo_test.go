package repo_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
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

// serve gives the repositories below a directory over https, by git's own
// server, to whoever has the token.
func serve(t *testing.T, root string) (*httptest.Server, repo.Remote) {
	t.Helper()
	execPath := git(t, root, "", "--exec-path")
	backend := &cgi.Handler{Path: filepath.Join(execPath, "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=jane", "HOME=" + root}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/away"):
			http.Redirect(w, r, "https://localhost:1"+r.URL.Path, http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/stall"):
			<-r.Context().Done()
		case !asGit(r):
			http.Error(w, "who are you", http.StatusUnauthorized)
		default:
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return server, repo.Remote{URL: server.URL + "/remote.git", Token: "sesame", CABundle: ca}
}

// asGit tells whether a request carries the token as forges take it.
func asGit(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	return ok && user == "git" && password == "sesame"
}

func TestRemote(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	work := newRepo(t)
	git(t, root, "", "init", "-q", "--bare", "-b", "main", "remote.git")
	git(t, filepath.Join(root, "remote.git"), "", "config", "http.receivepack", "true")
	push := func() string {
		git(t, work, "", "push", "-q", filepath.Join(root, "remote.git"), "main")
		return git(t, work, "", "rev-parse", "HEAD")
	}
	head := push()
	server, remote := serve(t, root)
	m, err := repo.OpenMirror(filepath.Join(t.TempDir(), "mirror.git"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	check := func(want string) {
		t.Helper()
		if err := m.Fetch(t.Context(), remote); err != nil {
			t.Fatal(err)
		}
		if _, id, err := m.Resolve(v1alpha1.GitReference{}); err != nil || id.String() != want {
			t.Fatalf("the mirror is at %s, %v; want %s", id, err, want)
		}
	}
	check(head)
	check(head) // nothing new
	git(t, work, "", "commit", "-q", "--allow-empty", "-m", "second")
	check(push())

	// A report goes the other way.
	id, err := m.Write(repo.NewCommit{Files: map[string][]byte{"STATUS.md": []byte("x")}, Name: "h", Email: "h@x", Time: time.Unix(1e9, 0), Message: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Update("refs/heads/headway/x", repo.ID{}, id); err != nil {
		t.Fatal(err)
	}
	if err := m.Push(t.Context(), remote, "refs/heads/headway/x"); err != nil {
		t.Fatal(err)
	}
	if got := git(t, filepath.Join(root, "remote.git"), "", "rev-parse", "headway/x"); got != id.String() {
		t.Fatalf("the remote has %s, want %s", got, id)
	}

	for name, bad := range map[string]func(*repo.Remote){
		"wrong token":      func(r *repo.Remote) { r.Token = "x" },
		"unknown CA":       func(r *repo.Remote) { r.CABundle = nil },
		"redirected away":  func(r *repo.Remote) { r.URL = server.URL + "/away.git" },
		"not https":        func(r *repo.Remote) { r.URL = "file://" + root + "/remote.git" },
		"not a repository": func(r *repo.Remote) { r.URL = server.URL + "/none.git" },
	} {
		broken := remote
		bad(&broken)
		if err := m.Fetch(t.Context(), broken); err == nil {
			t.Errorf("%s: fetched", name)
		}
	}
	stalled := remote
	stalled.URL = server.URL + "/stall.git"
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := m.Fetch(ctx, stalled); err == nil {
		t.Error("a stalling remote: fetched")
	}
	if _, _, err := m.Resolve(v1alpha1.GitReference{}); err != nil {
		t.Errorf("after all that the mirror says %v", err)
	}
}
