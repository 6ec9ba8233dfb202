package gitsource

import (
	"context"
	"fmt"
	"slices"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/plan"
)

// waits tells a plan how the source's objects are.
type waits struct{ s *source }

var _ plan.Waits = waits{}

func (w waits) Healthy(ref txn.Ref) bool { return w.s.fit(ref) }

func (w waits) Static(e *plan.Entry) bool { return w.s.checks.Static(e) }

func (s *source) fit(ref txn.Ref) bool { return s.tracker.Of(ref).Health == v1alpha1.HealthHealthy }

// wait notes that a wave of the commit waits for the ones before it. Nothing
// depends on what is noted: after a restart the same wait is found again.
//
//	stage ─► wait ─► healthy: sync ─► next stage
//	           ├───► degraded, or timeout: fail
//	           └───► newer commit: sync ─► its plan
func (s *source) wait(w *apply.Waiting) {
	s.waiting, s.tried = w, trial{}
	st := &s.release.Status
	if st.Phase == v1alpha1.ReleaseFailed {
		return // goes on should it become healthy after all
	}
	st.Phase, st.Stage, st.Stages = v1alpha1.ReleaseApplying, int32(w.Written), int32(w.Stages)
	st.Message = fmt.Sprintf("Applying (%d/%d): %v", w.Written, w.Stages, w)
	if st.StartedTime == nil {
		st.StartedTime = s.stamp()
	}
	s.condition(v1alpha1.ConditionReady, false, "Applying", st.Message)
}

// passable tells whether the wait is over.
func (s *source) passable(ctx context.Context) bool {
	if s.waiting == nil {
		return false
	}
	if len(s.waiting.Gone) > 0 {
		view, err := s.engine.cfg.Txn.View(ctx)
		return err == nil && !slices.ContainsFunc(s.waiting.Gone, func(ref txn.Ref) bool {
			_, there := view.Get(ref)
			return there
		})
	}
	return !slices.ContainsFunc(s.waiting.After, func(ref txn.Ref) bool { return !s.fit(ref) })
}

// settleWait gives a wait up that is for something that has failed, or that
// lasts too long.
func (s *source) settleWait(ctx context.Context) {
	if s.waiting == nil || s.release == nil || s.release.Status.Phase != v1alpha1.ReleaseApplying || s.passable(ctx) {
		return
	}
	problems := s.tracker.ProblemsOf(s.inventory, append(s.waiting.After, s.waiting.Gone...), maxProblems)
	for i, ref := range s.waiting.After {
		if s.tracker.Of(ref).Health == v1alpha1.HealthDegraded {
			worst := s.tracker.ProblemsOf(s.inventory, s.waiting.After[i:], 1)
			s.fail(ctx, problems, fmt.Sprintf("%v; %s", s.waiting, worst[0]))
			return
		}
	}
	if !s.now().Before(s.deadline()) {
		message := fmt.Sprintf("%v, in vain for %s", s.waiting, s.object.Spec.Timeout.Duration)
		if len(problems) > 0 {
			message += ": " + problems[0].String()
		}
		s.fail(ctx, problems, message)
	}
}
