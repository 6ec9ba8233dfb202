package gitsource_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/failpoint"
)

// TestEnvironmentKilledAnywhere stops the engine at every write of an
// environment's life: another one finishes what was begun, and in the end
// nothing is left.
func TestEnvironmentKilledAnywhere(t *testing.T) {
	for _, ends := range []bool{false, true} {
		for _, point := range []string{"gitsource.environment.before", "gitsource.status.before", "gitsource.status.after", "gitsource.commit.before", "gitsource.commit.after"} {
			kills := 0
			for n := 1; n < 30 && lives(t, point, n, ends); n++ {
				kills++
			}
			if kills == 0 && !(ends && strings.HasPrefix(point, "gitsource.commit")) {
				t.Errorf("never killed at %s, end: %t", point, ends)
			}
		}
	}
}

// lives makes an environment and ends it, with a kill at the nth hit of a point
// while it begins or ends. It tells whether there was such a hit.
func lives(t *testing.T, point string, n int, ends bool) (killed bool) {
	t.Helper()
	c := newCluster(t, t.TempDir())
	defer func() { c.stop() }()
	c.write("one.yaml", configMap("one", "a"))
	first := c.push("one")
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.Reports.Disabled = true
		o.Spec.Previews.Environments = &v1alpha1.EnvironmentsSpec{Refs: []string{"refs/heads/try-*"}}
	})
	c.run()
	c.phase("main", first, v1alpha1.ReleaseHealthy)
	c.git(c.work(), "checkout", "-q", "-b", "try-it")
	c.write("one.yaml", configMap("one", "b"))
	var name string
	there := func() string {
		all := c.source("main").Status.Environments
		if len(all) != 1 || all[0].Phase != v1alpha1.EnvironmentHealthy {
			return fmt.Sprintf("environments are %+v", all)
		}
		name = all[0].Namespace
		o := c.get(ref("configmaps", name+"/one"))
		if o == nil || dataOf(o)["key"] != "b" {
			return "the object is not there"
		}
		return ""
	}
	gone := func() string {
		if all := c.source("main").Status.Environments; len(all) > 0 {
			return fmt.Sprintf("environments are %+v", all)
		}
		return ""
	}
	step := func(kill bool, act func(), done func() string) {
		t.Helper()
		if !kill {
			act()
			c.eventually("the environment", done)
			return
		}
		clear, err := failpoint.Set(point, fmt.Sprintf("%d*pause", n))
		if err != nil {
			t.Fatal(err)
		}
		defer clear()
		act()
		c.eventually("the environment or the kill", func() string {
			if killed = failpoint.Hits(point) >= int64(n); killed {
				return ""
			}
			return done()
		})
		c.stop()
		clear()
		c.run()
		c.eventually(fmt.Sprintf("the environment after a kill at hit %d of %s", n, point), done)
	}
	step(!ends, func() { c.push("two") }, there)
	step(ends, func() { c.git(c.work(), "push", "-q", "origin", ":try-it") }, gone)
	c.stop()
	for _, line := range c.store.Dump() {
		// What the engine has made beside the namespace goes with that.
		if strings.Contains(line, name) && !strings.HasPrefix(line, "serviceaccounts ") && !strings.HasPrefix(line, "rolebindings.") {
			t.Errorf("killed at hit %d of %s, there is left: %s", n, point, line)
		}
	}
	for _, prefix := range []string{"inventory/", "drift/", "forge/"} {
		notes, err := c.store.Notes(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		for _, note := range notes {
			if strings.Contains(note.Key, name) {
				t.Errorf("killed at hit %d of %s, there is left: %s", n, point, note.Key)
			}
		}
	}
	if _, ok := c.get(txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"}).(*v1alpha1.GitSource); !ok {
		t.Error("the source itself is gone")
	}
	return killed
}
