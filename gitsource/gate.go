package gitsource

import (
	"context"
	"fmt"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/repo"
)

// aim is the commit that the cluster shall be at.
//
//	pinned?                          ─► that commit
//	newest commit quarantined?       ─► the last healthy one
//	otherwise                        ─► the newest one
//
// A commit that is pinned as a new one stands for the newest one.
type aim struct {
	id     repo.ID
	pinned bool
	asNew  bool
	// quarantined is the release of the newest commit when the aim stands in
	// for it.
	quarantined *v1alpha1.Release
}

// back tells whether exactly the set of a commit is asked for, wherever it
// stands in history.
func (a aim) back() bool { return a.pinned && !a.asNew || a.quarantined != nil }

// aimed is the commit that is wanted, whether it can be had or not.
func aimed(o *v1alpha1.GitSource, newest string) string {
	if p := o.Spec.Pin; p != nil && p.AsNew {
		return p.Commit
	}
	return newest
}

// aim decides for a commit.
func (s *source) aim(ctx context.Context, observed repo.ID) (aim, error) {
	a := aim{id: observed}
	if p := s.object.Spec.Pin; p != nil {
		id, err := repo.ParseID(p.Commit)
		if a = (aim{id: id, pinned: true, asNew: p.AsNew}); err != nil || !p.AsNew {
			return a, err
		}
	}
	r := s.release
	if r == nil || r.Spec.Commit != a.id.String() {
		view, err := s.engine.cfg.Txn.View(ctx)
		if err != nil {
			return aim{}, fmt.Errorf("view: %w", err)
		}
		o, ok := view.Get(txn.Ref{Resource: releases, Name: v1alpha1.ReleaseName(s.name, a.id.String())})
		if !ok {
			return a, nil
		}
		r = o.(*v1alpha1.Release)
	}
	if !quarantined(r) {
		return a, nil
	}
	// An interrupted way back goes on to where it was going.
	to := r.Status.RolledBackTo
	if to == "" {
		to = s.fallback(a.id.String())
	}
	if to == "" {
		return a, nil
	}
	var err error
	a.id, err = repo.ParseID(to)
	a.quarantined = r
	return a, err
}

// cameOn is the reference whose commits descend from the one that is aimed at.
// No reference need descend from what was pinned as new, also when the cluster
// goes back there later.
func (s *source) cameOn(ctx context.Context, a aim) (string, error) {
	if a.asNew && !a.back() {
		return a.id.String(), nil
	}
	if a.back() {
		view, err := s.engine.cfg.Txn.View(ctx)
		if err != nil {
			return "", fmt.Errorf("view: %w", err)
		}
		o, ok := view.Get(txn.Ref{Resource: releases, Name: v1alpha1.ReleaseName(s.name, a.id.String())})
		if r, is := o.(*v1alpha1.Release); ok && is && r.Spec.Ref == a.id.String() {
			return r.Spec.Ref, nil
		}
	}
	return s.status.ObservedRef, nil
}

func quarantined(r *v1alpha1.Release) bool {
	return r.Status.Phase == v1alpha1.ReleaseQuarantined || r.Status.Phase == v1alpha1.ReleaseRolledBack
}

// rolledBack tells whether the wanted commit is one that was taken back.
func (s *source) rolledBack() bool {
	return s.release != nil && quarantined(s.release) && s.release.Spec.Commit == aimed(s.object, s.status.ObservedCommit)
}

// fallback is the commit to go back to when one has failed, or nothing.
func (s *source) fallback(failed string) string {
	restored := s.object.Spec.Pin != nil && !s.object.Spec.Pin.AsNew
	if s.object.Spec.Health.OnFailure != v1alpha1.FailureRollback || restored || s.status.HealthyCommit == failed {
		return ""
	}
	return s.status.HealthyCommit
}

// fail closes the release of a commit that did not become healthy. Where there
// is a healthy set to go back to, the commit is quarantined and the way back
// is the next thing that is done.
func (s *source) fail(ctx context.Context, problems []v1alpha1.Problem, message string) {
	st := &s.release.Status
	st.Problems = problems
	st.Evidence = s.evidence(ctx)
	to := s.fallback(s.release.Spec.Commit)
	if to == "" {
		s.finish(v1alpha1.ReleaseFailed, message)
		s.tell(func(*pending) {}) // its hooks for that
		return
	}
	st.RolledBackTo = to
	s.waiting = nil
	if head := s.inventory.Head; head.Complete && head.Commit == to {
		s.finish(v1alpha1.ReleaseQuarantined, fmt.Sprintf("%s; nothing of it was written, the cluster stays at %.12s", message, to))
		s.ready()
		return
	}
	s.finish(v1alpha1.ReleaseQuarantined, fmt.Sprintf("%s; the cluster goes back to %.12s", message, to))
	s.log.Warn("rolling back", "commit", s.release.Spec.Commit, "to", to, "reason", message)
	s.tell(func(p *pending) { p.refs = true })
}

// alongBack gives the changes that record a stage of a way back.
func (s *source) alongBack(view txn.View, p *plan.Plan, stage, stages int) []txn.Change {
	st := &s.release.Status
	if stage == stages {
		st.Phase = v1alpha1.ReleaseRolledBack
		why := "it did not become healthy"
		if len(st.Problems) > 0 {
			why = st.Problems[0].String()
		}
		st.Message = fmt.Sprintf("rolled back to %.12s: %s. Push a newer commit, or delete the release %s to have it tried again",
			p.Next.Head.Commit, why, s.release.Name)
		s.status.AppliedCommit, s.status.AppliedTime = p.Next.Head.Commit, s.stamp()
		s.status.Objects = int32(len(p.Next.Entries))
		s.fights = nil
		clear(s.contended)
		s.ready()
	}
	return s.statusChanges(view)
}

// forgive lifts the quarantine of commits whose releases were deleted.
func (s *source) forgive(names []string) {
	for _, name := range names {
		if s.release != nil && s.release.Name == name {
			s.release, s.written.release, s.tried = nil, v1alpha1.ReleaseStatus{}, trial{}
		}
	}
}

// unknownPin says that the commit to stay at cannot be found; what is applied
// stays.
func (s *source) unknownPin(err error) {
	message := fmt.Sprintf("spec.pin: %v; the cluster stays at %.12s", err, s.status.AppliedCommit)
	s.condition(v1alpha1.ConditionReady, false, "PinUnknown", message)
	s.condition(v1alpha1.ConditionStalled, true, "PinUnknown", message)
	s.problems = []v1alpha1.Problem{{Message: message}}
}

func pinning(p *v1alpha1.Pin, newest string) string {
	out := fmt.Sprintf("pinned to %.12s", p.Commit)
	if p.By != "" {
		out += " by " + p.By
	}
	if p.Reason != "" {
		out += ": " + p.Reason
	}
	if newest != p.Commit {
		out += fmt.Sprintf("; the newest commit is %.12s", newest)
	}
	return out
}
