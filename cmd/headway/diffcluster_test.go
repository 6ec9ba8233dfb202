package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// TestDiffInCluster has the cluster compare commits: kept ones, ones that were
// never applied, and kept ones when the repository is gone.
func TestDiffInCluster(t *testing.T) {
	t.Parallel()
	web := "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: hunter2-plain}\n"
	f := follow(t, map[string]string{"web.yaml": web, "one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"}, reporting)
	first := f.git.run("rev-parse", "HEAD")
	f.git.write("web.yaml", strings.ReplaceAll(web, "hunter2", "hunter3"))
	f.git.run("mv", "one.yaml", "moved.yaml")
	f.git.write("two.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n")
	f.git.commit("second")
	second := f.git.run("rev-parse", "HEAD")
	f.arrive()

	out, _ := f.say(exitDiffers, "diff", "--source", "main", first[:12], "main")
	contains(t, out, "~ Secret db  (web.yaml:1)", "= ConfigMap one  (moved.yaml:1, moved from one.yaml)", "+ ConfigMap two  (two.yaml:1)", first[:12]+"..main: 1 created, 1 changed, 0 deleted")
	if strings.Contains(out, "hunter") {
		t.Errorf("a Secret is shown:\n%s", out)
	}
	out, _ = f.say(exitDiffers, "diff", "--source", "main", second, first, "-o", "json")
	var d commitDiff
	ok(t, json.Unmarshal([]byte(out), &d))
	if d.FromCommit != second || d.ToCommit != first || d.Summary.Deleted != 1 || d.Summary.Changed != 1 || len(d.Outcomes) != 3 {
		t.Errorf("in JSON it is %+v", d)
	}
	f.say(exitOK, "diff", "--source", "main", "main", second)

	// A commit that was never applied is rendered from the repository.
	f.git.run("checkout", "-q", "-b", "topic")
	f.git.write("three.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: three}\n")
	f.git.commit("third")
	f.git.run("tag", "v3")
	out, _ = f.say(exitDiffers, "diff", "--source", "main", "refs/heads/main", "tags/v3")
	contains(t, out, "+ ConfigMap three", "1 created, 0 changed, 0 deleted")
	f.git.write("bad.yaml", "kind: [")
	f.git.commit("bad")
	_, told := f.say(exitRejected, "diff", "--source", "main", "main", "topic")
	contains(t, told, "bad.yaml")
	_, told = f.say(exitRejected, "diff", "--source", "main", "main", "nothing")
	contains(t, told, "refs/heads/nothing")

	ok(t, os.Rename(filepath.Join(f.git.dir, ".git"), filepath.Join(t.TempDir(), "away")))
	f.say(exitDiffers, "diff", "--source", "main", first, second)
	ok(t, f.client.DeleteAllOf(t.Context(), &v1alpha1.Plan{})) // none was left
}
