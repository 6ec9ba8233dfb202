package main

import (
	"testing"

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
