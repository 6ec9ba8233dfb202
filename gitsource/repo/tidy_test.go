package repo_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/headway-sh/headway/gitsource/repo"
)

// TestTidy fetches one commit after the other, as a mirror does for months: it
// keeps few files, and whoever reads meanwhile finds everything.
func TestTidy(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	var commits []string
	var reading sync.WaitGroup
	most := 0
	for i := range 70 {
		if err := os.WriteFile(filepath.Join(r.work, "f"), []byte(fmt.Sprintf("%d\n", i)), 0o600); err != nil {
			t.Fatal(err)
		}
		git(t, r.work, "", "add", "-A")
		commits = append(commits, r.push(t, fmt.Sprint("commit ", i)))
		if _, err := r.mirror.Fetch(t.Context(), r.https()); err != nil {
			t.Fatal(err)
		}
		known := commits
		reading.Go(func() { readAll(t, r.mirror, known) })
		if err := r.mirror.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		most = max(most, files(t, r.mirror))
	}
	reading.Wait()
	readAll(t, r.mirror, commits)
	if most > 2*60 {
		t.Errorf("the mirror had %d files", most)
	}
	dir, _ := r.mirror.Dirs()
	git(t, dir, "", "fsck", "--full", "--strict")
	again, err := repo.OpenMirror(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	readAll(t, again, commits)
}

func readAll(t *testing.T, r *repo.Repository, commits []string) {
	for _, c := range commits {
		id, err := repo.ParseID(c)
		if err != nil {
			t.Error(err)
			return
		}
		commit, err := r.Commit(id)
		if err != nil {
			t.Error(err)
			return
		}
		entries, _, err := r.Tree(commit.Tree)
		if err != nil || len(entries) == 0 {
			t.Errorf("%s has %d entries: %v", c, len(entries), err)
			return
		}
	}
}

// files counts packs, their indexes and loose objects.
func files(t *testing.T, r *repo.Repository) int {
	t.Helper()
	dir, _ := r.Dirs()
	n := 0
	err := filepath.WalkDir(filepath.Join(dir, "objects"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
