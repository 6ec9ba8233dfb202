package gitsource_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// environments runs a source of which branches that begin with try- have
// environments.
func environments(t *testing.T, spec v1alpha1.EnvironmentsSpec) *cluster {
	t.Helper()
	c := newCluster(t, t.TempDir())
	t.Cleanup(c.stop)
	c.write("one.yaml", configMap("one", "a"))
	first := c.push("one")
	spec.Refs = []string{"refs/heads/try-*"}
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.Reports.Disabled = true
		o.Spec.Previews.Environments = &spec
	})
	c.run()
	c.phase("main", first, v1alpha1.ReleaseHealthy)
	return c
}

// try pushes a commit to a branch of its own.
func (c *cluster) try(branch string) {
	c.git(c.work(), "checkout", "-q", "-B", branch, "main")
	c.write("one.yaml", configMap("one", branch))
	c.push(branch)
}

// environmentOf waits until the environment of a branch fits.
func (c *cluster) environmentOf(branch string, fits func(v1alpha1.EnvironmentStatus) bool) {
	c.t.Helper()
	c.eventually("the environment of "+branch, func() string {
		all := c.source("main").Status.Environments
		for _, e := range all {
			if e.Ref == "refs/heads/"+branch && fits(e) {
				return ""
			}
		}
		return fmt.Sprintf("environments are %+v", all)
	})
}

func named(source, branch string) string {
	sum := sha256.Sum256([]byte(source + "\nrefs/heads/" + branch))
	return source + "-" + branch + "-" + hex.EncodeToString(sum[:5])
}

// TestRefusedEnvironmentIsNoObstacle: an environment that the API server does
// not let be made is told, and keeps neither its source nor others from going on.
func TestRefusedEnvironmentIsNoObstacle(t *testing.T) {
	t.Parallel()
	c := environments(t, v1alpha1.EnvironmentsSpec{})
	c.store.Reject(func(_ txn.Identity, change txn.Change) error {
		if change.Ref.Resource.Resource == "namespaces" && change.Ref.Name == named("main", "try-bad") {
			return apierrors.NewForbidden(change.Ref.Resource, change.Ref.Name, fmt.Errorf("by a policy"))
		}
		return nil
	})
	c.try("try-bad")
	c.environmentOf("try-bad", func(e v1alpha1.EnvironmentStatus) bool {
		return e.Phase == v1alpha1.EnvironmentPending && strings.Contains(e.Message, "by a policy")
	})
	c.try("try-good")
	c.environmentOf("try-good", func(e v1alpha1.EnvironmentStatus) bool { return e.Phase == v1alpha1.EnvironmentHealthy })
	c.store.Reject(nil)
	c.clock.Step(6 * time.Second)
	c.environmentOf("try-bad", func(e v1alpha1.EnvironmentStatus) bool { return e.Phase == v1alpha1.EnvironmentHealthy })
}

// TestEnvironmentTakesNoSourceOver: somebody's GitSource that has the name of an
// environment stays as it is.
func TestEnvironmentTakesNoSourceOver(t *testing.T) {
	t.Parallel()
	c := environments(t, v1alpha1.EnvironmentsSpec{})
	name := named("main", "try-it")
	c.follow(name, func(o *v1alpha1.GitSource) {
		o.Spec.Reports.Disabled = true
		o.Spec.Suspend = &v1alpha1.Suspension{Reason: "mine"}
	})
	c.try("try-it")
	c.environmentOf("try-it", func(e v1alpha1.EnvironmentStatus) bool {
		return strings.Contains(e.Message, "somebody else has a GitSource of that name")
	})
	if o := c.source(name); o.Spec.Suspend == nil || o.Spec.Environment != nil {
		t.Errorf("it is %+v now", o.Spec)
	}
	if o := c.get(ref("namespaces", name)); o != nil {
		t.Errorf("there is the namespace %v", o)
	}
}

// TestCommitsOfTomorrow: who says of commits that they were made later than now
// gets no more time, and no better place, than others.
func TestCommitsOfTomorrow(t *testing.T) {
	t.Parallel()
	c := environments(t, v1alpha1.EnvironmentsSpec{Max: ptr.To[int32](1)})
	late := start.AddDate(50, 0, 0).Unix()
	body := fmt.Sprintf("tree %s\nparent %s\nauthor M <m@x> %[3]d +0000\ncommitter M <m@x> %[3]d +0000\n\nlate\n",
		c.git(c.work(), "rev-parse", "HEAD^{tree}"), c.head(), late)
	if err := os.WriteFile(filepath.Join(c.dir, "late"), []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	id := c.git(c.work(), "hash-object", "-w", "-t", "commit", filepath.Join(c.dir, "late"))
	push := []string{"push", "-q", "origin"}
	for i := range 23 { // more than a status names of those that wait
		push = append(push, fmt.Sprintf("%s:refs/heads/try-%02d", id, i))
	}
	c.git(c.work(), push...)
	c.environmentOf("try-00", func(e v1alpha1.EnvironmentStatus) bool { return e.Phase == v1alpha1.EnvironmentHealthy })
	c.clock.Step(time.Minute)
	c.try("try-now")
	c.environmentOf("try-now", func(e v1alpha1.EnvironmentStatus) bool { return e.Phase == v1alpha1.EnvironmentHealthy })
	for _, e := range c.source("main").Status.Environments {
		if e.PushedTime.After(c.clock.Now()) {
			t.Errorf("%s was pushed at %s", e.Ref, e.PushedTime.Format(time.RFC3339))
		}
	}
}

// TestMergedHasNone: what is merged has no environment and is not told of, at
// the next looks neither, whenever its commits were made.
func TestMergedHasNone(t *testing.T) {
	t.Parallel()
	c := environments(t, v1alpha1.EnvironmentsSpec{})
	c.clock.Step(100 * time.Hour) // after the commits, which all are of one time
	c.try("try-it")
	c.environmentOf("try-it", func(e v1alpha1.EnvironmentStatus) bool { return e.Phase == v1alpha1.EnvironmentHealthy })
	c.git(c.work(), "checkout", "-q", "main")
	c.git(c.work(), "merge", "-q", "--no-edit", "try-it")
	for _, message := range []string{"merged", "another", "and another"} {
		c.phase("main", c.push(message), v1alpha1.ReleaseHealthy)
		c.eventually("no environment", func() string {
			if all := c.source("main").Status.Environments; len(all) > 0 {
				return fmt.Sprintf("environments are %+v", all)
			}
			return ""
		})
	}
}
