package gitsource_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/failpoint"
)

// TestCrashConverges stops the engine at every point of a push and starts
// another one: what is in the cluster is one commit at every moment, and in
// the end the newest.
func TestCrashConverges(t *testing.T) {
	for _, point := range []string{
		"gitsource.fetch.after", "gitsource.render.after", "gitsource.plan.after",
		"gitsource.commit.before", "gitsource.commit.after", "gitsource.report.before",
	} {
		t.Run(point, func(t *testing.T) {
			c := newCluster(t, t.TempDir())
			defer c.stop()
			c.follow("main", nil)
			for _, name := range []string{"a", "b", "c"} {
				c.write(name+".yaml", configMap(name, "one"))
			}
			c.run()
			first := c.push("first")
			c.phase("main", first, v1alpha1.ReleaseHealthy)

			clear, err := failpoint.Set(point, "pause")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"a", "b"} {
				c.write(name+".yaml", configMap(name, "two"))
			}
			c.git(c.work(), "rm", "-q", "c.yaml")
			second := c.push("second")
			c.reached(point, first, second)
			c.stop() // the pause ends with its context, and nothing after it runs
			clear()
			if got := c.values(); got != "one one one" && got != "two two -" {
				t.Fatalf("after the stop the cluster is a mix: %s", got)
			}
			c.run()
			c.phase("main", second, v1alpha1.ReleaseHealthy)
			if got := c.values(); got != "two two -" {
				t.Fatalf("in the end the cluster has %s", got)
			}
			if got := c.inventory("main"); got != second {
				t.Fatalf("the inventory is of %s, want %s", got, second)
			}
		})
	}
}

// reached waits until the engine has done everything that comes before a
// point, as far as that can be seen from outside.
func (c *cluster) reached(point, first, second string) {
	c.t.Helper()
	c.eventually(point, func() string {
		after := point == "gitsource.commit.after" || point == "gitsource.report.before"
		if done := c.inventory("main") == second; after && !done {
			return "the commit is not in the store"
		}
		if !after && c.inventory("main") != first {
			return "the commit is in the store already"
		}
		return ""
	})
}

func (c *cluster) values() string {
	var out []string
	for _, name := range []string{"a", "b", "c"} {
		o := c.get(ref("configmaps", "default/"+name))
		if o == nil {
			out = append(out, "-")
			continue
		}
		out = append(out, dataOf(o)["key"])
	}
	return strings.Join(out, " ")
}

func (c *cluster) inventory(source string) string {
	notes, err := c.store.Notes(context.Background(), plan.Prefix)
	if err != nil {
		c.t.Fatal(err)
	}
	all, err := plan.Load(notes)
	if err != nil {
		c.t.Fatal(err)
	}
	if all[source] == nil {
		return ""
	}
	return all[source].Head.Commit
}

// TestConflictsArePlannedAgain: a commit that loses against other writers is
// planned again, up to three rounds and then after a pause.
func TestConflictsArePlannedAgain(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.write("a.yaml", configMap("a", "one"))
	c.run()
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	c.store.ConflictNext(2)
	c.write("a.yaml", configMap("a", "two"))
	c.phase("main", c.push("second"), v1alpha1.ReleaseHealthy)

	c.store.ConflictNext(7) // more than two attempts with three rounds
	c.write("a.yaml", configMap("a", "three"))
	third := c.push("third")
	c.eventually("third commit", func() string {
		c.clock.Step(time.Second)
		return c.phaseIs("main", third, v1alpha1.ReleaseHealthy)
	})
}

// TestRefusedCommitIsNotSaidToBeApplied: what the API server refuses leaves
// the source's word about what is applied and healthy as it was.
func TestRefusedCommitIsNotSaidToBeApplied(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.write("a.yaml", configMap("a", "one"))
	c.run()
	first := c.push("first")
	c.phase("main", first, v1alpha1.ReleaseHealthy)
	c.write("b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndatta: {}\n")
	second := c.push("second")
	c.phase("main", second, v1alpha1.ReleaseRefused)
	if s := c.source("main").Status; s.AppliedCommit != first || s.HealthyCommit != first || s.ObservedCommit != second || s.Objects != 1 || len(s.Problems) != 1 {
		t.Fatalf("the source says %+v", s)
	}
}

// TestOneRevision: all objects of a commit carry one resourceVersion.
func TestOneRevision(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	for i := range 20 {
		c.write(fmt.Sprintf("%d.yaml", i), configMap(fmt.Sprintf("cm-%d", i), "x"))
	}
	c.run()
	commit := c.push("many")
	c.phase("main", commit, v1alpha1.ReleaseHealthy)
	var versions []string
	for _, line := range c.store.Dump() {
		if strings.HasPrefix(line, "configmaps ") || strings.HasPrefix(line, "releases.") {
			_, version, _ := strings.Cut(line, "@")
			versions = append(versions, version)
		}
	}
	slices.Sort(versions)
	if len(versions) != 21 || versions[0] != versions[20] {
		t.Fatalf("revisions %v, want 21 times the same", versions)
	}
}

// TestStages: a set over the limit of one transaction is written in stages,
// and a stop between them is rolled forward.
func TestStages(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	var all strings.Builder
	const n = plan.MaxStageObjects + 100
	for i := range n {
		all.WriteString("---\n" + configMap(fmt.Sprintf("cm-%d", i), "x"))
	}
	c.write("all.yaml", all.String())
	clear, err := failpoint.Set("gitsource.commit.before", "2*pause")
	if err != nil {
		t.Fatal(err)
	}
	c.run()
	commit := c.push("many")
	c.phase("main", commit, v1alpha1.ReleaseApplying)
	if r := c.release("main", commit); r.Status.Stage != 1 || r.Status.Stages != 2 {
		t.Fatalf("stage %d of %d, want 1 of 2", r.Status.Stage, r.Status.Stages)
	}
	c.stop()
	clear()
	c.run()
	c.phase("main", commit, v1alpha1.ReleaseHealthy)
	if got := c.source("main").Status.Objects; got != n {
		t.Fatalf("%d objects in the inventory, want %d", got, n)
	}
}

// TestQuickController: what is written to an object before the transaction
// that has made it has returned counts too.
func TestQuickController(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.write("db.yaml", deploymentOf("db", "1"))
	clear, err := failpoint.Set("gitsource.commit.after", "pause")
	if err != nil {
		t.Fatal(err)
	}
	defer clear()
	c.run()
	commit := c.push("first")
	c.eventually("db", func() string {
		if c.get(ref("deployments.apps", "default/db")) == nil {
			return "is not there"
		}
		return ""
	})
	c.playControllers()
	clear()
	c.phase("main", commit, v1alpha1.ReleaseHealthy)
}

// TestChangedWhileStarting: what changes between an engine's look at the
// cluster and its first step counts too.
func TestChangedWhileStarting(t *testing.T) {
	c := newCluster(t, t.TempDir())
	c.follow("main", nil)
	c.write("db.yaml", deploymentOf("db", "1"))
	c.write("web.yaml", inWave(5, configMap("web", "one"))) // which waits for db
	c.run()
	commit := c.push("first")
	c.phase("main", commit, v1alpha1.ReleaseApplying)
	c.stop()
	looked, released := make(chan struct{}), make(chan struct{})
	c.hold = func(prefix string) {
		if strings.HasPrefix(prefix, "notified/") {
			close(looked)
			<-released
		}
	}
	c.run()
	defer c.stop()
	<-looked
	c.playControllers()
	close(released)
	c.phase("main", commit, v1alpha1.ReleaseHealthy)
}

// TestEpoch: an engine whose time is over writes nothing more and ends.
func TestEpoch(t *testing.T) {
	c := newCluster(t, t.TempDir())
	c.follow("main", nil)
	c.write("a.yaml", configMap("a", "one"))
	ended := c.runUntilItEnds()
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	if _, err := c.store.Acquire(t.Context(), "gitsource"); err != nil {
		t.Fatal(err)
	}
	c.write("a.yaml", configMap("a", "two"))
	c.push("second")
	if err := <-ended; !errors.Is(err, txn.ErrEpoch) {
		t.Fatalf("the old engine ended with %v, want %v", err, txn.ErrEpoch)
	}
	if got := c.values(); got != "one - -" {
		t.Fatalf("the old engine has written: %s", got)
	}
}
