package gitsource_test

import (
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/failpoint"
)

// TestRepositoryReturnsUnwatched: a repository that comes back after the engine
// has looked for it, and before it watches for it, is followed again.
func TestRepositoryReturnsUnwatched(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.write("a.yaml", configMap("a", "one"))
	c.run()
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	c.stop()
	away := c.bare() + ".away"
	if err := os.Rename(c.bare(), away); err != nil {
		t.Fatal(err)
	}
	clear, err := failpoint.Set("gitsource.watch.before", "pause")
	if err != nil {
		t.Fatal(err)
	}
	defer clear()
	c.run()
	fetched := func(want string) {
		t.Helper()
		c.eventually("Fetched is "+want, func() string {
			condition := meta.FindStatusCondition(c.source("main").Status.Conditions, "Fetched")
			if condition == nil || string(condition.Status) != want {
				return "it is not"
			}
			return ""
		})
	}
	fetched("False")
	if err := os.Rename(away, c.bare()); err != nil {
		t.Fatal(err)
	}
	clear()
	fetched("True")
}
