package gitsource

import (
	"context"
	"fmt"
	"slices"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

func isHook(o *render.Object) bool { return o.Hook }

func ended(r *v1alpha1.HookRun) bool {
	return r.Phase == v1alpha1.HookSucceeded || r.Phase == v1alpha1.HookFailed || r.Phase == v1alpha1.HookSkipped
}

// unfinishedRun is the first run of a stage that has not ended, or nil.
func unfinishedRun(runs []v1alpha1.HookRun, stages ...v1alpha1.HookStage) *v1alpha1.HookRun {
	for i := range runs {
		if slices.Contains(stages, runs[i].Stage) && !ended(&runs[i]) {
			return &runs[i]
		}
	}
	return nil
}

// failedRun is the first run of a stage that has failed, or nil.
func failedRun(runs []v1alpha1.HookRun, stages ...v1alpha1.HookStage) *v1alpha1.HookRun {
	for i := range runs {
		if slices.Contains(stages, runs[i].Stage) && runs[i].Phase == v1alpha1.HookFailed {
			return &runs[i]
		}
	}
	return nil
}

// skipRuns ends the runs of stages that will not be reached any more.
func skipRuns(runs []v1alpha1.HookRun, message string, stages ...v1alpha1.HookStage) {
	for i := range runs {
		if r := &runs[i]; slices.Contains(stages, r.Stage) && !ended(r) {
			r.Phase, r.Message = v1alpha1.HookSkipped, message
		}
	}
}

// over tells whether a phase is one in which a commit is not applied any more.
func over(p v1alpha1.ReleasePhase) bool {
	switch p {
	case v1alpha1.ReleaseFailed, v1alpha1.ReleaseRolledBack, v1alpha1.ReleaseQuarantined, v1alpha1.ReleaseHealthy, v1alpha1.ReleaseSuperseded:
		return true
	}
	return false
}

// afterHooks are the stages that decide whether a written commit is good.
var afterHooks = []v1alpha1.HookStage{v1alpha1.HookSync, v1alpha1.HookPost, v1alpha1.HookPostRollback}

// watchHooks has the source told of writes to the objects of its hooks that
// have not ended.
func (s *source) watchHooks() {
	refs := map[txn.Ref]bool{}
	if s.release != nil {
		for i := range s.release.Status.Hooks {
			if h, ok := s.hookOf(&s.release.Status.Hooks[i]); ok && !ended(&s.release.Status.Hooks[i]) {
				refs[h.Ref] = true
			}
		}
	}
	s.engine.owners.watch(s.name, refs)
}

// observeHooks keeps how hooks ended whose objects are gone by now.
func (s *source) observeHooks(writes []txn.Write) {
	for _, w := range writes {
		if w.After == nil && w.Before != nil {
			if s.hooks.gone == nil {
				s.hooks.gone = map[txn.Ref]txn.Object{}
			}
			s.hooks.gone[w.Ref] = w.Before
		} else {
			delete(s.hooks.gone, w.Ref)
		}
	}
}

// hooksDue tells whether the commit's first hooks are worth another look.
func (s *source) hooksDue(writes []txn.Write) bool {
	if !s.hooks.pre || len(writes) > 0 || s.release == nil {
		return s.hooks.pre
	}
	r := unfinishedRun(s.release.Status.Hooks, v1alpha1.HookPreRollback)
	return !s.now().Before(s.deadline()) || r != nil && s.lateHook(r)
}

// again gives the objects of a commit that is not the newest one: as they are
// kept, or rendered again.
func (s *source) again(ctx context.Context, commit string) (txn.View, *render.Set, error) {
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("view: %w", err)
	}
	id, err := repo.ParseID(commit)
	if err != nil {
		return nil, nil, err
	}
	if set, err := s.engine.rendered.Get(s.name, id); err == nil {
		return view, set, nil
	}
	if s.follower.repo == nil {
		return nil, nil, s.follower.err
	}
	set, _, problems, err := s.rendered(ctx, s.planner(foreign(s.status.ObservedRef), view), id)
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("render %s: %s", commit, problems[0])
	}
	return view, set, err
}
