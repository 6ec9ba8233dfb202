package gitsource

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/failpoint"
)

const (
	// environmentRetry is when an environment is tried again that could not be
	// made, as while a namespace of its name is going.
	environmentRetry = 5 * time.Second
	// shownEnvironments is how many a status names that are over, besides those
	// that live.
	shownEnvironments = 20
)

// environing is what a source knows of its environments besides its status,
// which says when each head was pushed.
type environing struct {
	tips   map[string]repo.ID  // the heads at the last look; nil before the first
	merged map[[2]repo.ID]bool // by head and the commit that is followed
	ending map[string]string   // environments to be deleted, and why
	due    time.Time           // when something is to be done without an occasion
}

func (e *environing) isDue(now time.Time) bool { return !e.due.IsZero() && !now.Before(e.due) }

// environmentHead is a reference that may have an environment.
type environmentHead struct {
	v1alpha1.EnvironmentStatus
	tip  repo.ID
	time time.Time // of the commit
}

// lookAtEnvironments brings the environments to what the references are now.
// Those that have to go are deleted when the status that says so is written:
// by it, a head whose time is over is known after a restart.
func (s *source) lookAtEnvironments(ctx context.Context) error {
	s.environing.due, s.environing.ending = time.Time{}, nil
	if s.object.Spec.Previews.Environments == nil && len(s.status.Environments) == 0 || s.follower.repo == nil {
		return nil
	}
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	children := map[string]*v1alpha1.GitSource{} // by name
	for o := range view.Each(gitSources, "") {
		if s.isEnvironment(o) {
			children[o.GetName()] = o.(*v1alpha1.GitSource)
		}
	}
	heads, err := s.environmentHeads(ctx)
	if err != nil {
		return err
	}
	var out []v1alpha1.EnvironmentStatus
	wanted, over := map[string]bool{}, 0
	for _, h := range heads {
		e := h.EnvironmentStatus
		child := children[e.Namespace]
		switch {
		case e.Phase == "":
			wanted[e.Namespace] = true
			if err := s.keepEnvironment(ctx, view, &e, child); err != nil {
				return err
			}
			s.environing.sooner(e.Expires.Time)
			if e.Phase == v1alpha1.EnvironmentPending {
				s.environing.sooner(s.now().Add(environmentRetry))
			}
		case child != nil:
			s.environing.end(child.Name, e.Message)
			e.Phase = v1alpha1.EnvironmentEnding
		default:
			if over++; over > shownEnvironments {
				continue
			}
		}
		out = append(out, e)
	}
	out = append(out, s.formerEnvironments(out, children)...)
	s.status.Environments = out
	return nil
}

func (e *environing) sooner(at time.Time) {
	if e.due.IsZero() || at.Before(e.due) {
		e.due = at
	}
}

func (e *environing) end(name, why string) {
	if e.ending == nil {
		e.ending = map[string]string{}
	}
	e.ending[name] = why
}

// formerEnvironments are those whose references are gone, merged, or have no
// environments any more.
func (s *source) formerEnvironments(known []v1alpha1.EnvironmentStatus, children map[string]*v1alpha1.GitSource) []v1alpha1.EnvironmentStatus {
	var out []v1alpha1.EnvironmentStatus
	for _, child := range children {
		if slices.ContainsFunc(known, func(e v1alpha1.EnvironmentStatus) bool { return e.Namespace == child.Name }) {
			continue
		}
		e := v1alpha1.EnvironmentStatus{Ref: child.Spec.Ref.Name, Commit: child.Status.ObservedCommit, Namespace: child.Name, PushedTime: *s.stamp(), Expires: *s.stamp()}
		if i := slices.IndexFunc(s.status.Environments, func(e v1alpha1.EnvironmentStatus) bool { return e.Namespace == child.Name }); i >= 0 {
			e = s.status.Environments[i]
		}
		e.Phase, e.Message = v1alpha1.EnvironmentEnding, "the reference is gone, merged, or has no environment any more"
		s.environing.end(child.Name, e.Message)
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b v1alpha1.EnvironmentStatus) int { return cmp.Compare(a.Namespace, b.Namespace) })
	return out
}

// environmentHeads are the references that may have an environment, the newest
// push first. Those that have none now have the phase that says so.
func (s *source) environmentHeads(ctx context.Context) ([]environmentHead, error) {
	spec := s.object.Spec.Previews.Environments
	if spec == nil {
		return nil, nil
	}
	tips, err := s.matching(spec.Refs)
	if err != nil {
		return nil, err
	}
	now := *s.stamp()
	var heads []environmentHead
	for ref, tip := range tips {
		c, err := s.follower.repo.Commit(tip)
		if err != nil {
			continue
		}
		h := environmentHead{tip: tip, time: c.Time}
		h.Ref, h.Commit, h.Namespace = ref, tip.String(), environmentName(cmp.Or(spec.Prefix, s.name), s.name, ref)
		i := slices.IndexFunc(s.status.Environments, func(e v1alpha1.EnvironmentStatus) bool { return e.Ref == ref })
		switch {
		case i >= 0 && s.status.Environments[i].Commit == h.Commit:
			h.PushedTime = s.status.Environments[i].PushedTime
		case i < 0 && s.environing.tips[ref] == tip, i < 0 && s.environing.tips == nil && c.Time.Before(now.Time):
			// When it was pushed is not known: not before it was made.
			h.PushedTime = metav1.Time{Time: c.Time.UTC().Truncate(time.Second)}
			if h.PushedTime.After(now.Time) { // who makes commits of tomorrow has no longer time
				h.PushedTime = metav1.Time{Time: now.Add(-spec.TTL.Duration)}
			}
		default:
			h.PushedTime = now
		}
		h.Expires = metav1.Time{Time: h.PushedTime.Add(spec.TTL.Duration)}
		heads = append(heads, h)
	}
	s.environing.tips = tips
	slices.SortFunc(heads, func(a, b environmentHead) int {
		return cmp.Or(b.PushedTime.Compare(a.PushedTime.Time), b.time.Compare(a.time), cmp.Compare(a.Ref, b.Ref))
	})
	live, looked := 0, 0
	merged := map[[2]repo.ID]bool{}
	heads = slices.DeleteFunc(heads, func(h environmentHead) bool {
		if !h.Expires.After(now.Time) {
			if looked++; looked > shownEnvironments { // every look costs a walk
				return false
			}
		}
		return s.isMerged(ctx, h.tip, merged)
	})
	s.environing.merged = merged
	for i := range heads {
		h := &heads[i]
		switch {
		case !h.Expires.After(now.Time):
			h.Phase, h.Message = v1alpha1.EnvironmentExpired, fmt.Sprintf("nothing was pushed for %s", spec.TTL.Duration)
		case live >= int(*spec.Max):
			h.Phase, h.Message = v1alpha1.EnvironmentWaiting, fmt.Sprintf("%d newer ones are as many as there may be", live)
		default:
			live++
		}
	}
	return heads, nil
}

// isMerged tells whether the commit that is followed has a head in its history.
func (s *source) isMerged(ctx context.Context, tip repo.ID, now map[[2]repo.ID]bool) bool {
	followed, err := repo.ParseID(s.status.ObservedCommit)
	if err != nil {
		return false
	}
	key := [2]repo.ID{tip, followed}
	is, known := s.environing.merged[key]
	if !known {
		is, err = s.follower.repo.IsAncestor(ctx, tip, followed)
		is = is && err == nil
	}
	now[key] = is
	return is
}

// matching are the references that patterns name, with their commits; neither
// the one that is followed nor reports.
func (s *source) matching(patterns []string) (map[string]repo.ID, error) {
	return s.follower.repo.Refs(func(name string) bool {
		return name != s.status.ObservedRef && !strings.HasPrefix(name, repo.ReportPrefix) && repo.MatchesRef(patterns, name)
	})
}

// environmentLine says in a line how the environment of a reference is; empty:
// it has none.
func (s *source) environmentLine(ref string) string {
	for i := range s.status.Environments {
		if e := &s.status.Environments[i]; e.Ref == ref {
			return e.String()
		}
	}
	return ""
}

// endEnvironments deletes those that have to go. Their own sources do the rest.
func (s *source) endEnvironments(ctx context.Context) error {
	for name, why := range s.environing.ending {
		ref := txn.Ref{Resource: gitSources, Name: name}
		going := false
		if err := failpoint.Hit(ctx, "gitsource.environment.before"); err != nil {
			return err
		}
		_, _, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, txn.CommitOptions{Epoch: s.engine.applier.Epoch}, func(view txn.View) ([]txn.Change, error) {
			o, ok := view.Get(ref)
			if going = ok && o.GetDeletionTimestamp() == nil; !going {
				return nil, nil
			}
			return []txn.Change{{Verb: txn.Delete, Ref: ref}}, nil
		})
		if err != nil {
			return fmt.Errorf("end the environment %s: %w", name, err)
		}
		if going {
			s.engine.cfg.Events(s.object, corev1.EventTypeNormal, "EnvironmentEnds", name+": "+why)
		}
	}
	s.environing.ending = nil
	return nil
}
