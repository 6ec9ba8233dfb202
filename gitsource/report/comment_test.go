package report_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/report"
)

func TestCommentIsBounded(t *testing.T) {
	t.Parallel()
	p := &report.Plan{Ref: "refs/pull/7/head", Commit: &report.Commit{ID: strings.Repeat("a", 40)}, Digest: strings.Repeat("d", 32)}
	for i := range 5000 {
		p.Outcomes = append(p.Outcomes, v1alpha1.ObjectOutcome{Object: fmt.Sprintf("configmaps default/m%04d", i), Operation: "created",
			Fields: []v1alpha1.FieldChange{{Path: "data.x", After: strings.Repeat("é", 5000)}}})
	}
	const longest = 60_000
	got := report.Comment(p, "prod", "main", longest)
	if len(got) > longest || len(got) < longest/2 {
		t.Errorf("%d bytes, want nearly %d", len(got), longest)
	}
	for _, want := range []string{"configmaps default/m0000", "more objects", "</details>", "Digest `dddd"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestCommentHasNoMarkupOfOthers(t *testing.T) {
	t.Parallel()
	bad := "`</details> @everyone #1 <img src=x> | ![x](https://x)\n# title"
	p := &report.Plan{
		Ref: bad, Commit: &report.Commit{ID: "a", Subject: bad, Author: bad}, Base: "b", Summary: "1 created",
		Impact: &v1alpha1.PlanImpact{Lost: []string{bad}, MissingImages: []string{bad}, Irreversible: []string{bad}, Rollouts: []v1alpha1.Rollout{{Object: bad}}},
		Outcomes: []v1alpha1.ObjectOutcome{{Object: bad, Operation: "created", Origin: bad, MovedFrom: bad,
			Fields: []v1alpha1.FieldChange{{Path: bad, Before: bad, After: bad}}}},
		Problems: []v1alpha1.Problem{{File: bad, Object: bad, Message: bad}},
	}
	got := report.Comment(p, "prod", "main", 60_000)
	for i, part := range strings.Split(got, "`") {
		if outside := i%2 == 0; outside && (strings.Contains(part, "everyone") || strings.Contains(part, "img") || strings.Contains(part, "\n# ")) {
			t.Errorf("outside of a code span: %q", part)
		}
	}
}
