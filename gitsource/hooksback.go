package gitsource

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/rendered"
	"github.com/headway-sh/headway/gitsource/repo"
)

// rollbackStages are those of hooks of the commit that is gone back to.
var rollbackStages = []v1alpha1.HookStage{v1alpha1.HookPreRollback, v1alpha1.HookPostRollback}

func ofRollback(r *v1alpha1.HookRun) bool { return slices.Contains(rollbackStages, r.Stage) }

// backHooks are the hooks of a commit that is gone back to.
type backHooks struct {
	commit repo.ID
	all    map[string]plan.Hook // by the name of the object
}

// partingHooks are the hooks of a commit that are run when they leave git.
type partingHooks struct {
	commit string
	hooks  []*render.Object
}

// hookOf is what a run of the release is a run of.
func (s *source) hookOf(r *v1alpha1.HookRun) (plan.Hook, bool) {
	all := s.hooks.all
	if ofRollback(r) {
		all = s.back.all
	}
	h, ok := all[r.Object]
	return h, ok
}

// beforeBack runs the hooks that come before the way back. It waits for their
// end, which comes with spec.timeout at the latest: one that fails is told of,
// and keeps the cluster from nothing.
func (s *source) beforeBack(ctx context.Context, job apply.Job) error {
	if !slices.ContainsFunc(job.Set.Objects, isHook) {
		return nil
	}
	if err := s.takeBack(ctx, job.Set); err != nil {
		return err
	}
	st := &s.release.Status
	if !slices.ContainsFunc(st.Hooks, func(r v1alpha1.HookRun) bool { return ofRollback(&r) }) {
		var all []plan.Hook
		for _, h := range s.back.all {
			all = append(all, h)
		}
		st.Hooks = append(st.Hooks, plan.Runs(all, plan.Rollback)...)
	}
	err := s.runStage(ctx, v1alpha1.HookPreRollback)
	var wait *hookWait
	var failure *hookFailure
	switch {
	case errors.As(err, &failure):
		s.log.Warn("going back all the same", "error", err)
		skipRuns(st.Hooks, "another one has failed", v1alpha1.HookPreRollback)
		return nil
	case errors.As(err, &wait):
		s.hooks.pre, s.tried = true, trial{}
		s.condition(v1alpha1.ConditionReady, false, "Applying", "Going back: "+wait.Error())
	}
	return err
}

// takeBack learns the hooks of the set that is gone back to.
func (s *source) takeBack(ctx context.Context, set *render.Set) error {
	if s.back.commit == set.Commit && s.back.all != nil {
		return nil
	}
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	p := plan.Make(plan.Input{
		Source: s.name, Spec: &s.object.Spec, Set: set, Inventory: s.inventory, View: view, Mapper: s.engine.cfg.Mapper, Consents: []string{"all"}, Back: true,
	})
	s.back = backHooks{commit: set.Commit, all: map[string]plan.Hook{}}
	for _, h := range p.Hooks {
		s.back.all[h.Ref.String()] = h
	}
	return nil
}

// findBack learns after a restart what was gone back to.
func (s *source) findBack(ctx context.Context) error {
	if s.back.all != nil && s.back.commit.String() == s.inventory.Head.Commit {
		return nil
	}
	_, set, err := s.again(ctx, s.inventory.Head.Commit)
	if err != nil {
		return err
	}
	return s.takeBack(ctx, set)
}

// leavingHooks gives the hooks that a commit takes out of git, as far as those of
// the commit before it are known still.
func (s *source) leavingHooks(parent string) []*render.Object {
	if s.parting.commit == parent {
		return s.parting.hooks
	}
	id, err := repo.ParseID(parent)
	if err != nil {
		return nil // there is none
	}
	hooks, err := s.engine.rendered.Hooks(s.name, id)
	if err != nil {
		s.log.Warn("hooks for deletions are not known", "commit", parent, "error", err)
		if !errors.Is(err, rendered.ErrNotKept) && !errors.Is(err, rendered.ErrDamaged) {
			return nil // the next try may read them
		}
	}
	s.rememberHooks(parent, hooks)
	return s.parting.hooks
}

// rememberHooks keeps those of a commit that are run when they leave git.
func (s *source) rememberHooks(commit string, all []*render.Object) {
	var hooks []*render.Object
	for _, o := range all {
		if o.Hook && plan.ForDeletion(o) {
			hooks = append(hooks, o)
		}
	}
	s.parting = partingHooks{commit, hooks}
}
