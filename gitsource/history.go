package gitsource

import (
	"cmp"
	"slices"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// maxForgotten is how many releases are deleted at once: those of a cluster that
// kept all of them until now go with the next few commits.
const maxForgotten = 100

// Outdated picks the releases of one source that are no longer kept: all but the
// newest n, those that are not over, those that hold a commit in quarantine, and
// those of wanted commits.
func Outdated(all []*v1alpha1.Release, n int, wanted ...string) []*v1alpha1.Release {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *v1alpha1.Release) int {
		return cmp.Or(seenAt(b).Compare(seenAt(a)), cmp.Compare(a.Name, b.Name))
	})
	return slices.DeleteFunc(all[min(n, len(all)):], func(r *v1alpha1.Release) bool {
		return unfinished(r) || quarantined(r) || slices.Contains(wanted, r.Spec.Commit)
	})
}

func seenAt(r *v1alpha1.Release) time.Time {
	if r.Status.ObservedTime != nil {
		return r.Status.ObservedTime.Time
	}
	return r.CreationTimestamp.Time
}

// forget deletes old releases in the transaction that makes a new one.
func (s *source) forget(view txn.View) []txn.Change {
	var all []*v1alpha1.Release
	for o := range view.Each(releases, "") {
		if r := o.(*v1alpha1.Release); r.Spec.Source == s.name {
			all = append(all, r)
		}
	}
	wanted := []string{s.release.Spec.Commit, s.inventory.Head.Commit, s.status.ObservedCommit, s.status.AppliedCommit, s.status.HealthyCommit}
	if p := s.object.Spec.Pin; p != nil {
		wanted = append(wanted, p.Commit)
	}
	old := Outdated(all, s.engine.cfg.History-1, wanted...) // besides the new one
	slices.Reverse(old)                                     // the oldest first
	var changes []txn.Change
	for _, r := range old[:min(len(old), maxForgotten)] {
		changes = append(changes, txn.Change{Verb: txn.Delete, Ref: txn.Ref{Resource: releases, Name: r.Name}})
	}
	return changes
}
