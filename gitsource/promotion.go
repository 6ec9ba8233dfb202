package gitsource

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/gitsource/report"
)

const (
	// reasonPromotion is why nothing is applied yet that another environment has
	// not been healthy with.
	reasonPromotion = "AwaitingPromotion"
	// promotionDepth is how many of the newest commits are looked at.
	promotionDepth = 200
)

// environment is what is known of the one that goes ahead.
type environment struct {
	applied string // the commit that is applied there
	healthy bool   // and whether it is healthy now
	// release is what became of a commit there; nil: nothing is known.
	release func(id string) *v1alpha1.ReleaseStatus
}

// stay is a commit's time in an environment.
type stay struct {
	commit         *repo.Commit
	applied        time.Time
	healthy, until time.Time // until is zero while it lasts
}

// promote gives the commit of the ref, whose tip is given, that the source may
// go to: the newest one that has been healthy in the other environment for long
// enough, and that this one has not passed yet. Of what was rolled back there,
// by itself or by hand, nothing follows. false: there is none, and nothing to
// stay at.
//
//	history of the ref ─► healthy there, in what is applied there ─► long enough ─► newest
func (s *source) promote(ctx context.Context, tip repo.ID) (repo.ID, bool, error) {
	p := s.object.Spec.Promotion
	s.promoting = time.Time{}
	if p == nil {
		s.status.Promotion = nil
		s.engine.dependents.follow(s.name, txn.Ref{})
		return tip, true, nil
	}
	st := &v1alpha1.PromotionStatus{Newest: tip.String()}
	s.status.Promotion = st
	// First to be woken, then the View: nothing comes in between unseen.
	if p.From.Report == "" {
		s.engine.dependents.follow(s.name, txn.Ref{Resource: gitSources, Name: p.From.Source})
	}
	best, err := s.promotable(ctx, tip, st)
	if err != nil {
		return repo.ID{}, false, err
	}
	head := s.inventory.Head.Commit
	if head == "" {
		if best == nil {
			return repo.ID{}, false, nil
		}
		return best.ID, true, nil
	}
	at, err := repo.ParseID(head)
	if err != nil || best == nil || best.ID == at {
		return at, true, err
	}
	if _, err := s.follower.repo.Commit(at); err != nil {
		return best.ID, true, nil // of another repository: whether it may be followed is looked at later
	}
	behind, err := s.follower.repo.IsAncestor(ctx, best.ID, at)
	if err != nil {
		return repo.ID{}, false, fmt.Errorf("compare %s with what is applied: %w", best.ID, err)
	}
	if behind {
		st.Message = fmt.Sprintf("%s is behind: it is healthy with %.12s, and this source does not go back from %.12s", p.From, best.ID, head)
		return at, true, nil
	}
	return best.ID, true, nil
}

// promotable finds the newest commit that may follow now, and says in the
// status what follows later.
func (s *source) promotable(ctx context.Context, tip repo.ID, st *v1alpha1.PromotionStatus) (*repo.Commit, error) {
	p := s.object.Spec.Promotion
	there, why, err := s.environment(ctx)
	if err != nil {
		return nil, err
	}
	if st.Message = why; why != "" {
		return nil, nil
	}
	applied, err := repo.ParseID(there.applied)
	if err != nil {
		st.Message = fmt.Sprintf("%s has applied nothing yet", p.From)
		return nil, nil
	}
	if _, err := s.follower.repo.Commit(applied); err != nil {
		st.Message = fmt.Sprintf("%s is at %.12s, which is not in this repository", p.From, there.applied)
		return nil, nil
	}
	stays, err := s.stays(tip, there)
	if err != nil {
		return nil, err
	}
	now := s.now()
	after := time.Duration(0)
	if p.After != nil {
		after = p.After.Duration
	}
	st.Message = fmt.Sprintf("no commit of %s is healthy in %s", s.status.ObservedRef, p.From)
	for _, one := range stays {
		id := one.commit.ID
		switch in, err := s.follower.repo.IsAncestor(ctx, id, applied); {
		case err != nil:
			return nil, fmt.Errorf("compare %s with what is applied in %s: %w", id, p.From, err)
		case !in:
			continue // they went back from it
		case id == applied && !there.healthy:
			st.Message = fmt.Sprintf("%s is not healthy with %.12s", p.From, id)
			continue
		}
		end := one.until
		if id == applied {
			end = time.Time{}
		}
		ready := one.healthy.Add(after)
		if end.IsZero() && now.Before(ready) {
			st.Next, st.NextTime = id.String(), &metav1.Time{Time: ready.UTC()}
			st.Message = fmt.Sprintf("%.12s is healthy in %s and follows at %s", id, p.From, ready.UTC().Format("2006-01-02 15:04 UTC"))
			s.promoting = ready
			continue
		}
		if !end.IsZero() && end.Before(ready) {
			continue // its time there was too short
		}
		if st.Next == "" {
			st.Message = fmt.Sprintf("%.12s is healthy in %s", id, p.From)
		}
		return one.commit, nil
	}
	return nil, nil
}

// stays are the times of the ref's newest commits in another environment, the
// newest commit first; those that never became healthy are left out.
func (s *source) stays(tip repo.ID, there *environment) ([]stay, error) {
	history, err := s.follower.repo.Log(tip, promotionDepth)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	var all, out []stay
	for _, c := range history {
		r := there.release(c.ID.String())
		if r == nil || r.AppliedTime == nil {
			continue
		}
		one := stay{commit: c, applied: r.AppliedTime.Time}
		if r.Phase == v1alpha1.ReleaseHealthy && r.FinishedTime != nil {
			one.healthy = r.FinishedTime.Time
		}
		all = append(all, one)
	}
	for _, one := range all {
		if one.healthy.IsZero() {
			continue
		}
		for _, other := range all {
			if other.applied.After(one.applied) && (one.until.IsZero() || other.applied.Before(one.until)) {
				one.until = other.applied
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// environment reads how the other environment is, or says why that is not
// known.
func (s *source) environment(ctx context.Context) (there *environment, why string, err error) {
	from := s.object.Spec.Promotion.From
	if from.Report != "" {
		tip, err := s.follower.repo.Tip("refs/heads/" + from.Report)
		if err != nil {
			return nil, "", fmt.Errorf("read report of %s: %w", from.Source, err)
		}
		if tip.IsZero() {
			return nil, fmt.Sprintf("there is no report at %s yet", from.Report), nil
		}
		read := func(name string) ([]byte, error) { return s.follower.repo.FileAt(tip, name) }
		state, err := report.SourceIn(read, from.Source)
		if err != nil {
			return nil, fmt.Sprintf("the report at %s says nothing of %s: %v", from.Report, from.Source, err), nil
		}
		there = &environment{healthy: state.Health == v1alpha1.HealthHealthy, release: func(id string) *v1alpha1.ReleaseStatus { return report.ReleaseIn(read, from.Source, id) }}
		if state.Applied != nil {
			there.applied = state.Applied.ID
		}
		return there, "", nil
	}
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("view: %w", err)
	}
	o, _ := view.Get(txn.Ref{Resource: gitSources, Name: from.Source})
	other, ok := o.(*v1alpha1.GitSource)
	if !ok {
		return nil, fmt.Sprintf("there is no source %s", from.Source), nil
	}
	return &environment{
		applied: other.Status.AppliedCommit, healthy: other.Status.Health == v1alpha1.HealthHealthy,
		release: func(id string) *v1alpha1.ReleaseStatus {
			o, _ := view.Get(txn.Ref{Resource: releases, Name: v1alpha1.ReleaseName(from.Source, id)})
			if r, ok := o.(*v1alpha1.Release); ok && r.Spec.Commit == id {
				return &r.Status
			}
			return nil
		},
	}, "", nil
}

// unpromoted says that nothing is applied because the other environment has
// nothing to follow.
func (s *source) unpromoted() {
	message := "waits for " + s.object.Spec.Promotion.From.String() + ": " + s.status.Promotion.Message
	s.condition(v1alpha1.ConditionReady, false, reasonPromotion, message)
	s.condition(v1alpha1.ConditionStalled, false, reasonPromotion, message)
}
