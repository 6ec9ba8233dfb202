package gitsource

import (
	"strings"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// credit says in the release who has pushed its commit, as soon as a webhook
// has told; that may be before the commit is fetched or after it.
func (s *source) credit() {
	if s.release == nil || s.release.Status.PushedBy != "" {
		return
	}
	for line := range strings.Lines(s.object.Annotations[v1alpha1.AnnotationPushed]) {
		if commit, who, _ := strings.Cut(strings.TrimSpace(line), " "); commit == s.release.Spec.Commit {
			s.release.Status.PushedBy = who
			return
		}
	}
}
