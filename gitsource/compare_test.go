package gitsource_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/rendered"
	"github.com/headway-sh/headway/gitsource/repo"
)

// TestCompareHidesWhatWasEncrypted: a commit's objects are kept with what was
// encrypted in it, so that nobody is shown it in whatever kind it ended up.
func TestCompareHidesWhatWasEncrypted(t *testing.T) {
	t.Parallel()
	store, err := rendered.Open(t.TempDir(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	kept := func(n byte, digest, value string) *render.Set {
		t.Helper()
		o := &render.Object{File: "a.yaml", Line: 1, Digest: strings.Repeat(digest, 32), Body: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{"url": "db://" + value + "@host"},
		}}}
		if err := store.Put("main", render.Restored(repo.ID{n}, []*render.Object{o}, []string{value}), time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
		set, err := store.Get("main", repo.ID{n})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	from, to := kept(1, "a", "hunter2-plain"), kept(2, "b", "hunter3-plain")
	outcomes, counts := gitsource.Compare(from, to, nil)
	if counts.Changed != 1 || len(outcomes) != 1 || len(outcomes[0].Fields) != 1 {
		t.Fatalf("%+v", outcomes)
	}
	if f := outcomes[0].Fields[0]; !strings.Contains(f.Before, "db://(encrypted)@host") || !strings.Contains(f.After, "db://(encrypted)@host") {
		t.Errorf("it shows %+v", f)
	}
}

// TestCompareKeptWithoutRecord: what an earlier version has kept says nothing of
// what was encrypted in it. It is rendered again, and where that cannot be done no
// value of it is shown.
func TestCompareKeptWithoutRecord(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.run()
	var commits []string
	for _, value := range []string{"one", "two"} {
		c.write("x.yaml", configMap("x", value))
		commits = append(commits, c.push(value))
		c.phase("main", commits[len(commits)-1], v1alpha1.ReleaseHealthy)
	}
	c.stop()
	store, err := rendered.Open(filepath.Join(c.dir, "data", "rendered"), readFile(t, filepath.Join(c.dir, "data", "digest.key")))
	if err != nil {
		t.Fatal(err)
	}
	for _, commit := range commits {
		id, err := repo.ParseID(commit)
		if err != nil {
			t.Fatal(err)
		}
		set, err := store.Get("main", id)
		if err != nil || set.Unrecorded {
			t.Fatal(set, err)
		}
		set.Unrecorded = true
		if err := store.Put("main", set, time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	plan := func(name string) txn.Ref { return txn.Ref{Resource: v1alpha1.Resource("plans"), Name: name} }
	ask := func(name string) {
		t.Helper()
		c.do(admin, txn.Change{Verb: txn.Create, Ref: plan(name), Object: &v1alpha1.Plan{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.PlanSpec{
			Source: "main", Base: &v1alpha1.GitReference{Commit: commits[0]}, Ref: v1alpha1.GitReference{Commit: commits[1]}}}})
	}
	want := func(name, before, after string) {
		t.Helper()
		c.eventually("plan "+name, func() string {
			if len(c.get(plan(name)).(*v1alpha1.Plan).Status.Conditions) == 0 {
				return "is not answered"
			}
			return ""
		})
		st := c.get(plan(name)).(*v1alpha1.Plan).Status
		if len(st.Outcomes) != 1 || len(st.Outcomes[0].Fields) != 1 {
			t.Fatalf("%s: %+v", name, st)
		}
		if f := st.Outcomes[0].Fields[0]; f.Before != before || f.After != after {
			t.Errorf("%s: it shows %+v", name, f)
		}
	}
	ask("again") // while nobody is there to answer
	c.run()
	want("again", `"one"`, `"two"`)
	if err := os.Rename(c.bare(), c.bare()+".away"); err != nil {
		t.Fatal(err)
	}
	ask("away")
	want("away", "(not shown)", "(not shown)")
}
