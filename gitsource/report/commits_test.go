package report_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/gitsource/report"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a repository and a report branch of it.
type rig struct {
	t      *testing.T
	dir    string
	repo   *repo.Repository
	branch *report.Branch
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", "--bare", dir).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	r, err := repo.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return &rig{t: t, dir: dir, repo: r, branch: report.NewBranch("test", "0f0e", "headway/test")}
}

func (r *rig) publish(source string, releases ...*v1alpha1.Release) {
	r.t.Helper()
	if _, err := r.branch.Publish(r.t.Context(), report.Place{Repo: r.repo}, report.Source{Name: source}, releases, begin); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) git(args ...string) string {
	r.t.Helper()
	out, err := exec.CommandContext(r.t.Context(), "git", append([]string{"--git-dir", r.dir}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (r *rig) show(file string) string { return r.git("show", "headway/test:"+file) }

// release is the nth commit that a source tried.
func release(source string, n int, phase v1alpha1.ReleasePhase) *v1alpha1.Release {
	id := fmt.Sprintf("%040x", n)
	return &v1alpha1.Release{
		ObjectMeta: metav1.ObjectMeta{Name: source + "-" + id, ResourceVersion: fmt.Sprint(n) + string(phase)},
		Spec:       v1alpha1.ReleaseSpec{Source: source, Commit: id, Message: fmt.Sprint("commit ", n), Author: "Jane <jane@example.org>"},
		Status:     v1alpha1.ReleaseStatus{Phase: phase, ObservedTime: &metav1.Time{Time: begin.Add(time.Duration(n) * time.Minute)}},
	}
}

func TestPagesOfCommits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := release("a", 7, v1alpha1.ReleaseHealthy), release("b", 7, v1alpha1.ReleaseFailed)
	r.publish("a", a, b)
	page := "commits/" + a.Spec.Commit + ".md"
	if got := r.show(page); !strings.Contains(got, "## a: Healthy") || strings.Contains(got, "## b") {
		t.Errorf("with one source on the branch:\n%s", got)
	}
	r.publish("b", a, b)
	if got := r.show(page); !strings.Contains(got, "## a: Healthy") || !strings.Contains(got, "## b: Failed") {
		t.Errorf("with two sources on the branch:\n%s", got)
	}
	tip := r.git("rev-parse", "headway/test")
	r.publish("b", a, b)
	if now := r.git("rev-parse", "headway/test"); now != tip {
		t.Error("the same state was written twice")
	}
	// A branch that somebody has deleted is written anew as a whole.
	r.git("update-ref", "-d", "refs/heads/headway/test")
	r.git("-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now")
	r.publish("b", a, b)
	if got := r.show(page); !strings.Contains(got, "## b: Failed") {
		t.Errorf("after the branch was deleted:\n%s", got)
	}
}

func TestOldCommitsLeaveTheReport(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all []*v1alpha1.Release
	for n := range 230 {
		all = append(all, release("a", n, v1alpha1.ReleaseHealthy))
	}
	r.publish("a", all...)
	names := r.git("ls-tree", "-r", "--name-only", "headway/test", "commits/")
	if got := strings.Count(names, ".md\n"); got != 200 {
		t.Errorf("%d pages, want 200", got)
	}
	if strings.Contains(names, all[29].Spec.Commit) || !strings.Contains(names, all[30].Spec.Commit) {
		t.Error("the oldest are not the ones that have left")
	}
	if got := strings.Count(r.show("STATUS.md"), "](commits/"); got != 10 {
		t.Errorf("STATUS.md names %d commits, want 10", got)
	}
}

func TestForeignWordsAreNoMarkup(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad := release("a", 1, v1alpha1.ReleaseRefused)
	bad.Spec.Message = "<img src=x>\n# title\n```\n| a |"
	bad.Spec.Author = "[x](javascript:x) <b>|"
	bad.Status.Message = "<script>\n# no title"
	bad.Status.Outcomes = []v1alpha1.ObjectOutcome{{Object: "configmaps a`|`/<b>", Operation: "created", Error: "|x|\n| y |"}}
	bad.Status.Evidence = []v1alpha1.Evidence{{Object: "pods x", Lines: []string{"</pre><script>"}}}
	r.publish("a", bad)
	for line := range strings.Lines(r.show("commits/" + bad.Spec.Commit + ".md")) {
		foreign := strings.ContainsAny(line, "<")
		quoted := strings.HasPrefix(line, "    ") || strings.Contains(line, "`")
		if foreign && !quoted || strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "# Commit") || strings.Contains(line, "[x](") {
			t.Errorf("markup: %q", line)
		}
	}
}
