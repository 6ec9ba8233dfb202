package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// A source whose repository cannot be read is not called Synced.
func TestStateOfSource(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		observed string
		fetched  metav1.ConditionStatus
		want     string
		problems int
	}{
		"synced":         {"a", metav1.ConditionTrue, "Synced", 0},
		"behind":         {"b", metav1.ConditionTrue, "OutOfSync", 0},
		"never read":     {"", metav1.ConditionFalse, "Unknown", 1},
		"cannot be read": {"a", metav1.ConditionFalse, "Unknown", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := &v1alpha1.GitSource{Status: v1alpha1.GitSourceStatus{
				ObservedCommit: tc.observed, AppliedCommit: "a",
				Conditions: []metav1.Condition{{Type: v1alpha1.ConditionFetched, Status: tc.fetched, Message: "no git repository there"}},
			}}
			got := stateOfSource(source, nil)
			if got.Sync != tc.want || len(got.Problems) != tc.problems {
				t.Errorf("%s with %d problems, want %s with %d", got.Sync, len(got.Problems), tc.want, tc.problems)
			}
		})
	}
}

// What holds a source back is seen at a glance, and who did not care.
func TestStatusTellsWhatHoldsBack(t *testing.T) {
	t.Parallel()
	until := metav1.NewTime(time.Date(2026, 3, 1, 14, 30, 0, 0, time.Local))
	source := func(spec v1alpha1.GitSourceSpec, status v1alpha1.GitSourceStatus) *v1alpha1.GitSource {
		o := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: spec, Status: status}
		o.Status.ObservedCommit, o.Status.AppliedCommit, o.Status.ObservedRef = "0123456789abcdef", "0123456789abcdef", "refs/heads/main"
		return o
	}
	overridden := []v1alpha1.Release{{
		Spec:   v1alpha1.ReleaseSpec{Source: "main", Commit: "0123456789abcdef"},
		Status: v1alpha1.ReleaseStatus{Phase: v1alpha1.ReleaseHealthy, Override: &v1alpha1.Override{By: "jane", Freeze: "no changes on Fridays"}},
	}}
	for name, tc := range map[string]struct {
		source   *v1alpha1.GitSource
		releases []v1alpha1.Release
		column   string
		want     string
	}{
		"followed":            {source: source(v1alpha1.GitSourceSpec{}, v1alpha1.GitSourceStatus{}), column: "-"},
		"suspended":           {source: source(v1alpha1.GitSourceSpec{Suspend: &v1alpha1.Suspension{Reason: "moving"}}, v1alpha1.GitSourceStatus{}), column: "moving"},
		"suspended for a day": {source: source(v1alpha1.GitSourceSpec{Suspend: &v1alpha1.Suspension{Until: &until}}, v1alpha1.GitSourceStatus{}), column: "(until 2026-03-01 14:30)"},
		"pinned":              {source: source(v1alpha1.GitSourceSpec{Pin: &v1alpha1.Pin{Commit: "0"}}, v1alpha1.GitSourceStatus{}), column: "pinned"},
		"frozen":              {source: source(v1alpha1.GitSourceSpec{}, v1alpha1.GitSourceStatus{Frozen: &v1alpha1.Freeze{Until: &until}}), column: "frozen until 2026-03-01 14:30"},
		"overridden":          {source: source(v1alpha1.GitSourceSpec{}, v1alpha1.GitSourceStatus{}), releases: overridden, column: "-", want: "main: jane has had 0123456789ab applied in spite of windows: no changes on Fridays\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := clusterState{Sources: []sourceState{stateOfSource(tc.source, tc.releases)}}
			var out strings.Builder
			ok(t, state.text(&out, false))
			if row := regexp.MustCompile(`(?m)^main +main@sha1:01234567 +(.*?) +Synced `).FindStringSubmatch(out.String()); row == nil || row[1] != tc.column {
				t.Errorf("the column is %q, want %q in\n%s", row, tc.column, out.String())
			}
			contains(t, out.String(), tc.want)
		})
	}
}
