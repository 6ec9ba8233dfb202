package gitsource

import (
	"fmt"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// Answer is what somebody who waits for a commit is told.
type Answer int8

const (
	// Waiting says that nothing is decided.
	Waiting Answer = iota
	// Arrived says that the commit, or one after it, is applied and healthy.
	Arrived
	// Failed says that it did not become healthy, or was rolled back.
	Failed
	// Refused says that it was not applied: it is invalid or held.
	Refused
)

// Verdict tells what has become of a commit of a source, with a line that says
// why. releases are all of the cluster; descends, which may be nil, tells
// whether a commit has another one among its ancestors. A refused commit is
// waited for no longer, as the source has looked at it; a failed one neither.
func Verdict(o *v1alpha1.GitSource, releases []v1alpha1.Release, commit string, descends func(commit, of string) bool) (Answer, string) {
	after := func(c string) bool { return c == commit || c != "" && descends != nil && descends(c, commit) }
	if after(o.Status.HealthyCommit) {
		return Arrived, fmt.Sprintf("%.12s is applied and healthy", o.Status.HealthyCommit)
	}
	wanted := aimed(o, o.Status.ObservedCommit)
	for i := range releases {
		r := &releases[i]
		if r.Spec.Source != o.Name || !after(r.Spec.Commit) {
			continue
		}
		if r.Status.Phase == v1alpha1.ReleaseHealthy {
			return Arrived, fmt.Sprintf("%.12s was applied and became healthy", r.Spec.Commit)
		}
		if r.Spec.Commit != wanted {
			continue // a newer one decides
		}
		switch r.Status.Phase {
		case v1alpha1.ReleaseFailed, v1alpha1.ReleaseRolledBack, v1alpha1.ReleaseQuarantined:
			return Failed, r.Status.Message
		case v1alpha1.ReleaseRefused:
			return Refused, r.Status.Message
		}
	}
	for _, c := range o.Status.Conditions {
		if c.Type == v1alpha1.ConditionStalled && c.Status == "True" && after(wanted) {
			return Refused, c.Message
		}
	}
	return Waiting, fmt.Sprintf("%s at %.12s", o.Status.Health, o.Status.AppliedCommit)
}
