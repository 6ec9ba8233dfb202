package repo_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

// TestUnbundle takes in a bundle of all history and then one of what came
// since, whose pack is thin.
func TestUnbundle(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2", "3"} {
		t.Run("v"+version, func(t *testing.T) {
			t.Parallel()
			dir := newRepo(t)
			path := filepath.Join(t.TempDir(), "stick.bundle")
			m := mirror(t)
			large := strings.Repeat("some: text that deltas like\n", 500)
			commit := func(content string) string {
				if err := os.WriteFile(filepath.Join(dir, "large.yaml"), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
				git(t, dir, "", "add", "-A")
				git(t, dir, "", "commit", "-q", "-m", "large")
				return git(t, dir, "", "rev-parse", "HEAD")
			}
			take := func(want string) {
				t.Helper()
				if !repo.IsBundle(path) {
					t.Fatal("it is no bundle")
				}
				if _, err := m.Unbundle(t.Context(), path); err != nil {
					t.Fatal(err)
				}
				if _, id, err := m.Resolve(v1alpha1.GitReference{}); err != nil || id.String() != want {
					t.Fatalf("the mirror is at %s, %v; want %s", id, err, want)
				}
			}
			first := commit(large)
			git(t, dir, "", "bundle", "create", "-q", "--version="+version, path, "HEAD", "main")
			take(first)
			take(first) // again
			second := commit(large + "more: 1\n")
			git(t, dir, "", "bundle", "create", "-q", "--version="+version, path, "HEAD", "main", "^"+first)
			if _, err := mirror(t).Unbundle(t.Context(), path); err == nil || !strings.Contains(err.Error(), "builds on commit "+first) {
				t.Fatalf("without what it builds on: %v", err)
			}
			take(second)
			id, _ := repo.ParseID(second)
			if content, err := m.FileAt(id, "large.yaml"); err != nil || string(content) != large+"more: 1\n" {
				t.Fatalf("%d bytes, %v", len(content), err)
			}
			gitDir, _ := m.Dirs()
			git(t, gitDir, "", "fsck", "--strict")
		})
	}
}

// TestDamagedBundles change nothing.
func TestDamagedBundles(t *testing.T) {
	t.Parallel()
	dir := newRepo(t)
	path := filepath.Join(t.TempDir(), "stick.bundle")
	git(t, dir, "", "bundle", "create", "-q", path, "HEAD", "main")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	id := git(t, dir, "", "rev-parse", "HEAD")
	flipped := []byte(string(whole))
	flipped[len(flipped)-30] ^= 0x40
	for name, c := range map[string]struct{ content, want string }{
		"half a pack":          {string(whole[:len(whole)-40]), "EOF"},
		"half a header":        {string(whole[:40]), "EOF"},
		"a flipped bit":        {string(flipped), ""},
		"version 9":            {"# v9 git bundle\n" + id + " refs/heads/main\n\n", "version 2 or 3"},
		"no reference":         {"# v2 git bundle\n\n", "no branch or tag"},
		"a filter":             {"# v3 git bundle\n@filter=blob:none\n" + id + " refs/heads/main\n\n", "not understood"},
		"a name that leads on": {"# v2 git bundle\n" + id + " refs/heads/../../x\n\n", "no branch or tag"},
		"an endless line":      {"# v2 git bundle\n" + strings.Repeat("x", 1<<16), "too large"},
		"no pack":              {"# v2 git bundle\n" + id + " refs/heads/main\n\n", "pack"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "x.bundle")
			if err := os.WriteFile(file, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			m := mirror(t)
			if _, err := m.Unbundle(t.Context(), file); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v, want %q", err, c.want)
			}
			if _, _, err := m.Resolve(v1alpha1.GitReference{}); err == nil {
				t.Error("the mirror has a commit")
			}
		})
	}
}

// TestPipeForBundle: a pipe that nobody writes to keeps nobody waiting.
func TestPipeForBundle(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.bundle")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := mirror(t).UnbundleForward(t.Context(), path); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Error(err)
	}
}

func mirror(t *testing.T) *repo.Repository {
	t.Helper()
	m, err := repo.OpenMirror(filepath.Join(t.TempDir(), "mirror.git"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}
