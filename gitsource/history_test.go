package gitsource_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource"
)

var phases = []v1alpha1.ReleasePhase{
	v1alpha1.ReleasePlanned, v1alpha1.ReleaseApplying, v1alpha1.ReleaseProgressing, v1alpha1.ReleaseHealthy, v1alpha1.ReleaseFailed,
	v1alpha1.ReleaseRolledBack, v1alpha1.ReleaseSuperseded, v1alpha1.ReleaseQuarantined, v1alpha1.ReleaseRefused,
}

// TestOutdatedReleases: whatever there is, those that somebody needs stay, and
// the newest do; of the rest nothing does.
func TestOutdatedReleases(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "kept")
		var all []*v1alpha1.Release
		for i := range rapid.IntRange(0, 30).Draw(t, "releases") {
			commit := fmt.Sprintf("%040x", i)
			all = append(all, &v1alpha1.Release{
				ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ReleaseName("main", commit), CreationTimestamp: metav1.NewTime(start.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "at")) * time.Second))},
				Spec:       v1alpha1.ReleaseSpec{Source: "main", Commit: commit},
				Status:     v1alpha1.ReleaseStatus{Phase: rapid.SampledFrom(phases).Draw(t, "phase")},
			})
		}
		var wanted []string
		for range rapid.IntRange(0, 4).Draw(t, "wanted") {
			wanted = append(wanted, fmt.Sprintf("%040x", rapid.IntRange(0, 30).Draw(t, "commit")))
		}
		gone := gitsource.Outdated(all, n, wanted...)
		needed := func(r *v1alpha1.Release) bool {
			switch r.Status.Phase {
			case v1alpha1.ReleaseHealthy, v1alpha1.ReleaseFailed, v1alpha1.ReleaseSuperseded, v1alpha1.ReleaseRefused:
				return slices.Contains(wanted, r.Spec.Commit)
			}
			return true
		}
		older := func(r *v1alpha1.Release) (count int) {
			for _, o := range all {
				if o.CreationTimestamp.After(r.CreationTimestamp.Time) {
					count++
				}
			}
			return count
		}
		for _, r := range all {
			newer := older(r)
			same := 0 // whose order does not matter
			for _, o := range all {
				if o.CreationTimestamp.Equal(&r.CreationTimestamp) {
					same++
				}
			}
			switch left := slices.Contains(gone, r); {
			case left && needed(r):
				t.Errorf("%s goes, which is %s and wanted by %v", r.Name, r.Status.Phase, wanted)
			case left && newer+same <= n:
				t.Errorf("%s goes, and only %d are newer (%d are kept)", r.Name, newer, n)
			case !left && !needed(r) && newer >= n:
				t.Errorf("%s stays, and %d are newer (%d are kept)", r.Name, newer, n)
			}
		}
	})
}

// TestOldReleasesGo with the commits that come after them.
func TestOldReleasesGo(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	c.history = 3
	defer func() { c.stop() }()
	c.follow("main", nil)
	c.run()
	var commits []string
	push := func(phase v1alpha1.ReleasePhase) {
		t.Helper()
		c.clock.Step(time.Second)
		c.write("x.yaml", configMap("x", fmt.Sprintf("v%d", len(commits))))
		commits = append(commits, c.push("more"))
		c.phase("main", commits[len(commits)-1], phase)
	}
	for range 6 {
		push(v1alpha1.ReleaseHealthy)
	}
	left := func() (out []int) {
		view, err := c.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for o := range view.Each(v1alpha1.Resource("releases"), "") {
			out = append(out, slices.Index(commits, o.(*v1alpha1.Release).Spec.Commit))
		}
		slices.Sort(out)
		return out
	}
	if got := left(); !slices.Equal(got, []int{3, 4, 5}) {
		t.Errorf("%v are left, want the newest three", got)
	}
	if o := c.get(txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"}).(*v1alpha1.GitSource); o.Status.HealthyCommit != commits[5] {
		t.Errorf("the cluster is at %s", o.Status.HealthyCommit)
	}
}
