package gitsource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/repo"
)

// fetch learns the newest commit of the ref. false says that there is none to
// go on with; what is in the cluster stays.
func (s *source) fetch(ctx context.Context) (repo.ID, bool) {
	f := s.follower
	fail := func(reason string, err error) (repo.ID, bool) {
		s.condition(v1alpha1.ConditionFetched, false, reason, err.Error())
		if s.status.AppliedCommit == "" {
			s.condition(v1alpha1.ConditionReady, false, reason, err.Error())
		}
		return repo.ID{}, false
	}
	if f.err != nil {
		return fail("NoRepository", f.err)
	}
	fetchErr, fetched := f.state()
	name, id, err := f.repo.Resolve(s.object.Spec.Ref)
	s.status.ObservedRef = name
	switch {
	case errors.Is(err, repo.ErrEmpty) && !fetched && fetchErr == nil:
		return fail("Fetching", errors.New("the first fetch is under way"))
	case err != nil && fetchErr != nil:
		return fail(fetchReason(fetchErr), fetchErr)
	case (errors.Is(err, repo.ErrNoRef) || errors.Is(err, repo.ErrEmpty)) && s.status.AppliedCommit != "":
		return fail("RefGone", fmt.Errorf("%w; the cluster stays at %.12s", err, s.status.AppliedCommit))
	case errors.Is(err, repo.ErrEmpty):
		return fail("Empty", err)
	case errors.Is(err, repo.ErrNoRef):
		return fail("NoRef", err)
	case err != nil:
		return fail("ReadFailed", err)
	case strings.HasPrefix(name, repo.ReportPrefix):
		return fail("ReportBranch", fmt.Errorf("%s is written by a cluster: a source cannot follow it", name))
	}
	if fetchErr != nil { // what is known of the remote is gone on with
		s.condition(v1alpha1.ConditionFetched, false, fetchReason(fetchErr), fetchErr.Error())
	} else {
		s.condition(v1alpha1.ConditionFetched, true, "Fetched", "the newest commit is known")
	}
	id, ok, err := s.promote(ctx, id)
	if err != nil {
		return fail("ReadFailed", err)
	}
	if !ok {
		s.unpromoted()
		return repo.ID{}, false
	}
	if s.status.ObservedCommit != id.String() {
		s.status.ObservedCommit = id.String()
		s.status.ObservedTime, s.seen = s.stamp(), 0
	}
	if s.seen == 0 {
		s.seen = s.engine.claims.tick()
	}
	return id, true
}

// fetchReason says in one word why a fetch failed.
func fetchReason(err error) string {
	switch {
	case errors.Is(err, repo.ErrEmptied):
		return "Emptied"
	case errors.Is(err, repo.ErrTooLarge):
		return "TooLarge"
	case errors.Is(err, repo.ErrStalled), errors.Is(err, context.DeadlineExceeded):
		return "Stalled"
	}
	return "FetchFailed"
}

// descends tells whether a commit may follow the applied one: history that was
// rewritten wants an explicit word.
func (s *source) descends(ctx context.Context, id repo.ID) (bool, error) {
	head, believed := s.inventory.Head, ""
	if s.object.Spec.Verification != nil {
		believed = s.status.VerifiedCommit
	}
	switch {
	case s.object.Annotations[v1alpha1.AnnotationAllowRewrite] == id.String(), s.object.Spec.Environment != nil:
		return true, nil
	case believed != "" && believed != id.String():
		// Who has the host can move references, but not make an older signed
		// commit the newest.
		if ok, err := s.follows(ctx, believed, id); !ok || err != nil {
			return ok, err
		}
	}
	switch {
	case head.Commit == "", head.Commit == id.String():
		return true, nil
	case believed == "" && head.Ref != s.status.ObservedRef && !(s.object.Spec.Ref.Semver != "" && repo.Older(s.status.ObservedRef, head.Ref)):
		return true, nil // another reference was asked for, or a newer version came
	}
	return s.follows(ctx, head.Commit, id)
}

// follows tells whether a commit descends from another.
func (s *source) follows(ctx context.Context, old string, id repo.ID) (bool, error) {
	parsed, err := repo.ParseID(old)
	if err != nil {
		return false, err
	}
	return s.follower.repo.IsAncestor(ctx, parsed, id)
}

// hold keeps the last good state in front of rewritten history.
func (s *source) hold(id repo.ID) {
	message := fmt.Sprintf("%s was rewritten: %.12s does not descend from the applied commit %.12s, which stays. "+
		"Push a commit on top of it, or consent with: kubectl annotate gitsource %s --overwrite %s=%s",
		s.status.ObservedRef, id, s.inventory.Head.Commit, s.name, v1alpha1.AnnotationAllowRewrite, id)
	s.condition(v1alpha1.ConditionReady, false, reasonRewritten, message)
	s.condition(v1alpha1.ConditionStalled, true, reasonRewritten, message)
	s.problems = []v1alpha1.Problem{{Message: message}}
}

// begin makes the Release of a commit, or takes up the one that is stored.
func (s *source) begin(ctx context.Context, c *repo.Commit, current bool) error {
	if s.release != nil && s.release.Spec.Commit == c.ID.String() {
		return nil
	}
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	name := v1alpha1.ReleaseName(s.name, c.ID.String())
	phase := v1alpha1.ReleasePlanned
	if current {
		phase = v1alpha1.ReleaseProgressing
	}
	if o, ok := view.Get(txn.Ref{Resource: releases, Name: name}); ok {
		s.takeUp(o.(*v1alpha1.Release))
		if !current && !s.underWay() {
			s.release.Status = v1alpha1.ReleaseStatus{Phase: phase, ObservedTime: s.release.Status.ObservedTime, PushedBy: s.release.Status.PushedBy}
		}
		return nil
	}
	message := c.Message
	if len(message) > 4096 {
		message = strings.ToValidUTF8(message[:4096], "")
	}
	ref := s.status.ObservedRef
	if p := s.object.Spec.Pin; p != nil && p.AsNew && p.Commit == c.ID.String() {
		ref = p.Commit
	}
	s.release = &v1alpha1.Release{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Release"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.ReleaseSpec{
			Source: s.name, Commit: c.ID.String(), Ref: ref, Author: c.Author, Committer: c.Committer,
			CommitTime: &metav1.Time{Time: c.Time.UTC().Truncate(time.Second)}, Message: strings.TrimSpace(message), Parent: s.inventory.Head.Commit,
		},
		Status: v1alpha1.ReleaseStatus{Phase: phase, ObservedTime: s.stamp()},
	}
	s.written.release = v1alpha1.ReleaseStatus{}
	return nil
}

// underWay tells whether what the release says of its commit still holds: it
// was interrupted, or has failed before it was applied.
func (s *source) underWay() bool {
	switch s.release.Status.Phase {
	case v1alpha1.ReleasePlanned, v1alpha1.ReleaseApplying:
		return true
	case v1alpha1.ReleaseFailed:
		return s.inventory.Head.Commit == s.release.Spec.Commit || failedRun(s.release.Status.Hooks, v1alpha1.HookPre) != nil
	}
	return false
}

// takeUp goes on with a release that is stored.
func (s *source) takeUp(r *v1alpha1.Release) {
	if s.release != nil && s.release.Name == r.Name {
		return
	}
	s.release = r.DeepCopy()
	s.release.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Release"}
	s.written.release = *s.release.Status.DeepCopy()
}
