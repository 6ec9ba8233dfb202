package gitsource_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource"
)

func TestVerdict(t *testing.T) {
	t.Parallel()
	release := func(commit string, phase v1alpha1.ReleasePhase) v1alpha1.Release {
		return v1alpha1.Release{Spec: v1alpha1.ReleaseSpec{Source: "main", Commit: commit}, Status: v1alpha1.ReleaseStatus{Phase: phase}}
	}
	newer := func(commit, of string) bool { return commit > of } // a history of one line
	for name, c := range map[string]struct {
		status   v1alpha1.GitSourceStatus
		releases []v1alpha1.Release
		want     gitsource.Answer
	}{
		"not seen yet":         {v1alpha1.GitSourceStatus{ObservedCommit: "a", HealthyCommit: "a"}, nil, gitsource.Waiting},
		"healthy":              {v1alpha1.GitSourceStatus{ObservedCommit: "b", HealthyCommit: "b"}, nil, gitsource.Arrived},
		"a later one healthy":  {v1alpha1.GitSourceStatus{ObservedCommit: "c", HealthyCommit: "c"}, nil, gitsource.Arrived},
		"progressing":          {v1alpha1.GitSourceStatus{ObservedCommit: "b"}, []v1alpha1.Release{release("b", v1alpha1.ReleaseProgressing)}, gitsource.Waiting},
		"failed":               {v1alpha1.GitSourceStatus{ObservedCommit: "b"}, []v1alpha1.Release{release("b", v1alpha1.ReleaseFailed)}, gitsource.Failed},
		"refused":              {v1alpha1.GitSourceStatus{ObservedCommit: "b"}, []v1alpha1.Release{release("b", v1alpha1.ReleaseRefused)}, gitsource.Refused},
		"failed, newer on way": {v1alpha1.GitSourceStatus{ObservedCommit: "c"}, []v1alpha1.Release{release("b", v1alpha1.ReleaseFailed)}, gitsource.Waiting},
		"history rewritten": {v1alpha1.GitSourceStatus{ObservedCommit: "b", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue}}},
			nil, gitsource.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Status: c.status}
			if got, why := gitsource.Verdict(o, c.releases, "b", newer); got != c.want {
				t.Errorf("got %d (%s), want %d", got, why, c.want)
			}
		})
	}
}
