package gitsource_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/rendered"
	"github.com/headway-sh/headway/gitsource/repo"
)

// What was applied can be read as objects when the repository is gone.
func TestAppliedCommitsAreKept(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.run()
	var commits []string
	for _, value := range []string{"one", "two"} {
		c.write("same.yaml", configMap("same", "same"))
		c.write("x.yaml", configMap("x", value))
		commits = append(commits, c.push(value))
		c.phase("main", commits[len(commits)-1], v1alpha1.ReleaseHealthy)
	}
	c.write("x.yaml", "broken")
	refused := c.push("refused")
	c.phase("main", refused, v1alpha1.ReleaseRefused)
	c.stop()
	key, err := filepath.Glob(filepath.Join(c.dir, "data", "digest.key"))
	if err != nil || len(key) != 1 {
		t.Fatal(key, err)
	}
	store, err := rendered.Open(filepath.Join(c.dir, "data", "rendered"), readFile(t, key[0]))
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]int{}
	for i, want := range []string{"one", "two"} {
		id, err := repo.ParseID(commits[i])
		if err != nil {
			t.Fatal(err)
		}
		set, err := store.Get("main", id)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range set.Objects {
			digests[o.Digest]++
		}
		if o := set.Objects[1]; o.Body.Object["data"].(map[string]any)["key"] != want || o.Origin() != "x.yaml:1" {
			t.Errorf("%s has %v at %s", commits[i], o.Body.Object, o.Origin())
		}
	}
	if len(digests) != 3 {
		t.Errorf("%d different objects, want 3", len(digests))
	}
	if id, err := repo.ParseID(refused); err != nil || store.Has("main", id) {
		t.Errorf("a refused commit is kept (%v)", err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
