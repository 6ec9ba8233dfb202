package gitsource_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// TestPlan: a Plan object tells what a branch would change, field by field,
// and changes nothing.
func TestPlan(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.write("a.yaml", configMap("a", "one"))
	c.write("b.yaml", configMap("b", "one"))
	c.write("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {p: b25l}\n")
	c.run()
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	c.git(c.work(), "checkout", "-q", "-b", "next")
	c.write("a.yaml", configMap("a", "two"))
	c.write("c.yaml", configMap("c", "new"))
	c.write("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {p: dHdv}\n")
	c.git(c.work(), "rm", "-q", "b.yaml")
	next := c.push("next")

	plan := txn.Ref{Resource: v1alpha1.Resource("plans"), Name: "next"}
	c.do(admin, txn.Change{Verb: txn.Create, Ref: plan, Object: &v1alpha1.Plan{
		ObjectMeta: metav1.ObjectMeta{Name: "next"}, Spec: v1alpha1.PlanSpec{Source: "main", Ref: v1alpha1.GitReference{Branch: "next"}},
	}})
	var got v1alpha1.PlanStatus
	c.eventually("plan", func() string {
		if got = c.get(plan).(*v1alpha1.Plan).Status; got.Commit == "" {
			return "is not answered"
		}
		return ""
	})
	if got.Commit != next || got.Digest == "" || len(got.Problems) > 0 {
		t.Fatalf("status %+v", got)
	}
	if diff := cmp.Diff(v1alpha1.OperationCounts{Created: 1, Changed: 2, Deleted: 1}, got.Summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	want := []v1alpha1.ObjectOutcome{
		{Object: "configmaps default/a", Operation: "updated", Origin: "a.yaml:1", Fields: []v1alpha1.FieldChange{{Path: "data.key", Before: `"one"`, After: `"two"`}}},
		{Object: "configmaps default/c", Operation: "created", Origin: "c.yaml:1"},
		{Object: "secrets default/s", Operation: "updated", Origin: "s.yaml:1", Fields: []v1alpha1.FieldChange{{Path: "data.p", Before: "(masked)", After: "(masked)"}}},
		{Object: "configmaps default/b", Operation: "deleted", Origin: "b.yaml:1"},
	}
	if diff := cmp.Diff(want, got.Outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if c.get(ref("configmaps", "default/c")) != nil {
		t.Error("the plan was applied")
	}
}

// TestContended: who changes the same field again and again is named, and left
// alone until the next commit.
func TestContended(t *testing.T) {
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", nil)
	c.write("a.yaml", configMap("a", "one"))
	c.run()
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	hack := func() {
		c.do(txn.Identity{Name: "operator"}, txn.Change{
			Verb: txn.Patch, Ref: ref("configmaps", "default/a"), Patch: []byte(`{"data":{"key":"mine"}}`), PatchType: types.MergePatchType, FieldManager: "operator",
		})
	}
	for range 5 {
		hack()
		c.eventually("correction", func() string {
			if got := c.values(); got != "one - -" {
				return got
			}
			return ""
		})
	}
	hack()
	c.eventually("contest", func() string {
		p := c.source("main").Status.Problems
		if len(p) != 1 || p[0].Object != "configmaps default/a" || p[0].File != "a.yaml" {
			return "is not told"
		}
		return ""
	})
	if got := c.values(); got != "mine - -" {
		t.Fatalf("the fight goes on: %s", got)
	}
	c.write("a.yaml", configMap("a", "two"))
	c.phase("main", c.push("second"), v1alpha1.ReleaseHealthy)
	if got := c.values(); got != "two - -" {
		t.Fatalf("a commit does not win: %s", got)
	}
}

// TestPlanByHandIsConsentedTo: the digest that a Plan object has, which compares
// everything, is the one that the commit waits with, also beside drift.
func TestPlanByHandIsConsentedTo(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.Approval.Required = v1alpha1.ApprovalDestructive
		o.Spec.Drift.Policy = v1alpha1.DriftReport
	})
	c.write("a.yaml", configMap("a", "one"))
	c.write("b.yaml", configMap("b", "one"))
	c.write("c.yaml", configMap("c", "one"))
	c.run()
	c.phase("main", c.push("first"), v1alpha1.ReleaseHealthy)
	c.do(txn.Identity{Name: "jane"}, txn.Change{Verb: txn.Patch, Ref: ref("configmaps", "default/c"), PatchType: types.MergePatchType, Patch: []byte(`{"data":{"key":"hers"}}`)})
	c.git(c.work(), "rm", "-q", "b.yaml")
	c.push("second")
	digest := ""
	c.eventually("consent is asked for", func() string {
		if a := c.source("main").Status.Awaits; a != nil {
			digest = a.Digest
			return ""
		}
		return "not yet"
	})
	plan := txn.Ref{Resource: v1alpha1.Resource("plans"), Name: "by-hand"}
	c.do(admin, txn.Change{Verb: txn.Create, Ref: plan, Object: &v1alpha1.Plan{
		ObjectMeta: metav1.ObjectMeta{Name: "by-hand"}, Spec: v1alpha1.PlanSpec{Source: "main", Ref: v1alpha1.GitReference{Branch: "main"}},
	}})
	c.eventually("plan", func() string {
		switch got := c.get(plan).(*v1alpha1.Plan).Status; {
		case got.Commit == "":
			return "is not answered"
		case got.Digest != digest:
			t.Fatalf("the plan has the digest %s, the commit waits with %s", got.Digest, digest)
		}
		return ""
	})
}
