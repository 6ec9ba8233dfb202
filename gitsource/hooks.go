package gitsource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/failpoint"
)

// hooks are those of the release's commit, as far as they are known. Where they
// stand is in the release: each is begun in the transaction that notes it, so
// that nothing is run twice and a restart goes on.
//
//	Pending ─► what an earlier run has left is deleted ─► Running ─► Succeeded
//	   └─► Skipped: its stage is not reached                 └─────► Failed
type hooks struct {
	commit string
	all    map[string]plan.Hook // by the name of the object
	// gone is how those ended that were removed since.
	gone map[txn.Ref]txn.Object
	// pre says that the commit waits for hooks of the first stage.
	pre bool
}

// hookWait says that hooks are still running.
type hookWait struct{ run v1alpha1.HookRun }

func (w *hookWait) Error() string {
	return fmt.Sprintf("%s hook %s is running", w.run.Stage, w.run.Object)
}

// hookFailure says that a hook has failed.
type hookFailure struct{ run v1alpha1.HookRun }

func (f *hookFailure) Error() string { return f.problem().String() }

func (f *hookFailure) problem() v1alpha1.Problem {
	file, line := v1alpha1.ParseOrigin(f.run.Origin)
	return v1alpha1.Problem{File: file, Line: line, Object: f.run.Object, Message: fmt.Sprintf("%s hook: %s", f.run.Stage, f.run.Message)}
}

// before checks a commit that has hooks, and runs those that come before it.
// It returns *hookWait or *hookFailure when the commit may not be applied yet,
// or at all.
func (s *source) before(ctx context.Context, job apply.Job) error {
	if !slices.ContainsFunc(job.Set.Objects, isHook) && len(job.Removed) == 0 {
		return nil
	}
	if job.Permit != nil { // hooks do something, too
		view, err := s.engine.cfg.Txn.View(ctx)
		if err != nil {
			return fmt.Errorf("view: %w", err)
		}
		if err := job.Permit(ctx, view); err != nil {
			return err
		}
	}
	st := &s.release.Status
	if commit := s.release.Spec.Commit; s.hooks.commit != commit || unfinishedRun(st.Hooks, v1alpha1.HookPre) != nil {
		p, err := s.engine.applier.Check(ctx, job)
		if err != nil {
			return err
		}
		s.takeHooks(commit, p.Hooks)
		if st.Hooks == nil {
			st.Hooks = plan.Runs(p.Hooks, s.occasion())
		}
	}
	err := s.runStage(ctx, v1alpha1.HookPre)
	var wait *hookWait
	if s.hooks.pre = errors.As(err, &wait); s.hooks.pre {
		s.tried = trial{}
		s.condition(v1alpha1.ConditionReady, false, "Applying", "Applying: "+wait.Error())
	}
	return err
}

// occasion is what a commit is to the source.
func (s *source) occasion() plan.Occasion {
	if s.status.AppliedCommit == "" {
		return plan.Install
	}
	return plan.Upgrade
}

func (s *source) takeHooks(commit string, all []plan.Hook) {
	if s.hooks.commit != commit {
		s.hooks = hooks{commit: commit}
	}
	s.hooks.all = map[string]plan.Hook{}
	for _, h := range all {
		s.hooks.all[h.Ref.String()] = h
	}
}

// failedBefore closes the release of a commit whose first hooks have failed:
// nothing of it is written.
func (s *source) failedBefore(ctx context.Context, f *hookFailure) {
	problems := []v1alpha1.Problem{f.problem()}
	head := s.inventory.Head
	if !head.Complete || s.release.Status.Phase == v1alpha1.ReleaseFailed {
		if s.release.Status.Phase != v1alpha1.ReleaseFailed {
			s.fail(ctx, problems, f.Error())
		}
		s.problems = problems
		s.condition(v1alpha1.ConditionReady, false, "HookFailed", f.Error())
		return
	}
	st := &s.release.Status
	st.Problems, st.RolledBackTo = problems, head.Commit
	s.finish(v1alpha1.ReleaseQuarantined, fmt.Sprintf("%v; nothing of it was written, the cluster stays at %.12s", f, head.Commit))
	s.ready()
}

// runHooks looks after the hooks that come once a commit is written.
func (s *source) runHooks(ctx context.Context) error {
	r := s.release
	if r == nil || len(r.Status.Hooks) == 0 {
		return nil
	}
	var stages []v1alpha1.HookStage
	switch head := s.inventory.Head; r.Status.Phase {
	case v1alpha1.ReleaseProgressing:
		if !head.Complete || head.Commit != r.Spec.Commit {
			return nil
		}
		stages = append(stages, v1alpha1.HookSync)
		if s.tracker.Health() == v1alpha1.HealthHealthy {
			stages = append(stages, v1alpha1.HookPost, v1alpha1.HookPostRollback)
		}
	case v1alpha1.ReleaseFailed, v1alpha1.ReleaseRolledBack:
		stages = append(stages, v1alpha1.HookOnFailure)
		begun := slices.ContainsFunc(r.Status.Hooks, func(r v1alpha1.HookRun) bool {
			return r.Stage == v1alpha1.HookPostRollback && r.Phase == v1alpha1.HookRunning
		})
		if begun || head.Complete && head.Commit == r.Status.RolledBackTo && s.tracker.Health() == v1alpha1.HealthHealthy {
			stages = append(stages, v1alpha1.HookPostRollback)
		}
	case v1alpha1.ReleaseQuarantined:
		if head.Complete && head.Commit == r.Status.RolledBackTo {
			stages = append(stages, v1alpha1.HookOnFailure)
		}
	}
	for _, stage := range stages {
		next := unfinishedRun(r.Status.Hooks, stage)
		if next == nil {
			continue
		}
		if err := s.findHooks(ctx, next); err != nil {
			return err
		}
		err := s.runStage(ctx, stage)
		var wait *hookWait
		var failure *hookFailure
		switch {
		case err == nil || errors.As(err, &failure): // which the release has
		case errors.As(err, &wait):
			return nil
		default:
			return err
		}
	}
	return nil
}

// findHooks renders the release's commit again where its hooks are not known
// any more. What keeps it from that may pass: only those whose time is over
// fail for it.
func (s *source) findHooks(ctx context.Context, next *v1alpha1.HookRun) error {
	commit := s.release.Spec.Commit
	if ofRollback(next) {
		return s.findBack(ctx)
	}
	if s.hooks.commit == commit {
		return nil
	}
	view, set, err := s.again(ctx, commit)
	if err != nil && ctx.Err() == nil && s.lateHook(next) {
		s.log.Warn("hooks are not found", "commit", commit, "error", err)
		s.takeHooks(commit, nil)
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the hooks of %.12s: %w", commit, err)
	}
	p := plan.Make(plan.Input{
		Source: s.name, Spec: &s.object.Spec, Set: set, Inventory: s.inventory, View: view, Mapper: s.engine.cfg.Mapper, Consents: []string{"all"},
		Removed: s.leavingHooks(s.release.Spec.Parent),
	})
	s.takeHooks(commit, p.Hooks)
	return nil
}

// runStage runs the hooks of a stage as far as they go now: those of one
// weight together, then the next. It returns *hookWait or *hookFailure unless
// all have succeeded.
func (s *source) runStage(ctx context.Context, stage v1alpha1.HookStage) error {
	defer s.watchHooks()
	for {
		runs := s.release.Status.Hooks
		if f := failedRun(runs, stage); f != nil {
			return &hookFailure{*f}
		}
		next := unfinishedRun(runs, stage)
		if next == nil {
			return nil
		}
		var group []*v1alpha1.HookRun
		for i := range runs {
			if r := &runs[i]; r.Stage == stage && r.Weight == next.Weight && !ended(r) {
				group = append(group, r)
			}
		}
		s.watchHooks()
		moved, err := s.runGroup(ctx, group)
		if err != nil {
			return err
		}
		if !moved {
			return &hookWait{*next}
		}
	}
}

// runGroup takes the hooks of one weight a step further, in one transaction,
// and tells whether that was possible.
func (s *source) runGroup(ctx context.Context, group []*v1alpha1.HookRun) (moved bool, err error) {
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return false, fmt.Errorf("view: %w", err)
	}
	noted := s.save()
	var start, deletes []txn.Change
	var starting []*v1alpha1.HookRun
	blocked := false
	for _, r := range group {
		h, known := s.hookOf(r)
		if !known {
			s.endRun(r, v1alpha1.HookFailed, "is not found in its commit any more")
			moved = true
			continue
		}
		live, exists := view.Get(h.Ref)
		if !exists {
			live = nil
		}
		switch {
		case r.Phase == v1alpha1.HookRunning:
			change, done := s.judgeRun(ctx, view, &h, r, live)
			deletes, moved = append(deletes, change...), moved || done
		case live == nil || h.Kept():
			start, starting = append(start, apply.RunHook(s.name, s.runName(r), &h)), append(starting, r)
		case !s.ours(&h, live):
			s.endRun(r, v1alpha1.HookFailed, "there is such an object, and no hook of this source has made it: delete it, or call the hook otherwise")
			moved = true
		default:
			blocked = true
			if live.GetDeletionTimestamp() == nil {
				deletes = append(deletes, s.deleteHook(&h))
			}
			if s.lateHook(r) {
				s.endRun(r, v1alpha1.HookFailed, "what an earlier run has left does not go")
				moved = true
			}
		}
	}
	if blocked {
		start, starting = nil, nil // all of them together
	}
	for _, r := range starting {
		r.Phase, r.StartedTime = v1alpha1.HookRunning, s.stamp()
		moved = true
	}
	if len(start)+len(deletes) == 0 && !moved {
		return false, nil
	}
	if err := s.commitHooks(ctx, append(deletes, start...), noted, group); err != nil {
		return false, err
	}
	return moved, nil
}

// commitHooks writes what hooks ask for along with the release. What the API
// server refuses fails the hook.
func (s *source) commitHooks(ctx context.Context, own []txn.Change, noted noted, group []*v1alpha1.HookRun) error {
	st := &s.release.Status
	if !over(st.Phase) && st.Phase != v1alpha1.ReleaseProgressing {
		st.Phase = v1alpha1.ReleaseApplying
		if r := unfinishedRun(st.Hooks, v1alpha1.HookPre, v1alpha1.HookPreRollback); r != nil {
			st.Message = "Applying: " + (&hookWait{*r}).Error()
		}
		if st.StartedTime == nil {
			st.StartedTime = s.stamp()
		}
	}
	if err := failpoint.Hit(ctx, "gitsource.hooks.before"); err != nil {
		return err
	}
	result, _, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, txn.CommitOptions{Epoch: s.engine.applier.Epoch},
		func(view txn.View) ([]txn.Change, error) {
			return append(own[:len(own):len(own)], s.statusChanges(view)...), nil
		})
	if err == nil {
		err = failpoint.Hit(ctx, "gitsource.hooks.after")
		if err != nil {
			return err
		}
		s.written.release = *st.DeepCopy()
		s.written.source = *s.status.DeepCopy()
		return nil
	}
	hooks := slices.Clone(st.Hooks)
	s.restoreNotes(noted)
	if result == nil || result.Err() == nil {
		return fmt.Errorf("run hooks: %w", err)
	}
	refused := false
	for i, o := range result.Outcomes[:min(len(own), len(result.Outcomes))] {
		if o.Err == nil || txn.IsConflict(o.Err) || own[i].Verb == txn.Delete {
			continue
		}
		for j := range hooks {
			if r := &s.release.Status.Hooks[j]; r.Object == o.Change.Ref.String() && slices.ContainsFunc(group, func(g *v1alpha1.HookRun) bool { return g.Object == r.Object && g.Stage == r.Stage }) {
				s.endRun(r, v1alpha1.HookFailed, o.Err.Error())
				refused = true
			}
		}
	}
	if !refused {
		return fmt.Errorf("run hooks: %w", err)
	}
	return nil
}

// judgeRun looks how a running hook is doing; it gives what is to be deleted
// when it has ended.
func (s *source) judgeRun(ctx context.Context, view txn.View, h *plan.Hook, r *v1alpha1.HookRun, live txn.Object) (deletes []txn.Change, ended bool) {
	if live != nil && live.GetAnnotations()[v1alpha1.AnnotationHookRun] != s.runName(r) {
		live = nil // somebody else's
	}
	seen := live
	if seen == nil {
		seen = s.hooks.gone[h.Ref]
	}
	phase, message := s.outcome(h, seen)
	switch {
	case phase == v1alpha1.HookRunning && live == nil:
		phase, message = v1alpha1.HookFailed, "was deleted before it came to an end"
	case phase == v1alpha1.HookRunning && s.lateHook(r):
		phase, message = v1alpha1.HookFailed, fmt.Sprintf("has not come to an end within %s", s.object.Spec.Timeout.Duration)
	case phase == v1alpha1.HookRunning:
		return nil, false
	}
	if phase == v1alpha1.HookFailed && live != nil {
		r.Lines = s.hookLines(ctx, view, live)
	}
	s.endRun(r, phase, message)
	word := v1alpha1.HookDeleteSucceeded
	if phase == v1alpha1.HookFailed {
		word = v1alpha1.HookDeleteFailed
	}
	if live != nil && !h.Kept() && h.Deletes(word) {
		deletes = append(deletes, s.deleteHook(h))
	}
	return deletes, true
}

// outcome tells how an object that was made for a hook is: what runs to an end
// has to reach it, anything else has to be healthy.
func (s *source) outcome(h *plan.Hook, o txn.Object) (v1alpha1.HookPhase, string) {
	if pod, ok := o.(*corev1.Pod); ok {
		switch pod.Status.Phase {
		case corev1.PodSucceeded:
			return v1alpha1.HookSucceeded, ""
		case corev1.PodFailed:
			return v1alpha1.HookFailed, "failed: " + oneLine(pod.Status.Message+podExit(pod))
		}
		return v1alpha1.HookRunning, ""
	}
	if job, ok := o.(*batchv1.Job); ok {
		for _, c := range job.Status.Conditions {
			if c.Status != corev1.ConditionTrue {
				continue
			}
			switch c.Type {
			case batchv1.JobComplete:
				return v1alpha1.HookSucceeded, ""
			case batchv1.JobFailed:
				return v1alpha1.HookFailed, "failed: " + oneLine(c.Reason+" "+c.Message)
			}
		}
		return v1alpha1.HookRunning, ""
	}
	if o == nil {
		return v1alpha1.HookRunning, ""
	}
	switch state := s.checks.Of(&h.Entry, o); state.Health {
	case v1alpha1.HealthHealthy:
		return v1alpha1.HookSucceeded, ""
	case v1alpha1.HealthDegraded:
		return v1alpha1.HookFailed, state.Message
	}
	return v1alpha1.HookRunning, ""
}

func podExit(pod *corev1.Pod) string {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return fmt.Sprintf("container %s exited with code %d", c.Name, t.ExitCode)
		}
	}
	return ""
}

// hookLines are the last words of a failed hook's containers.
func (s *source) hookLines(ctx context.Context, view txn.View, o txn.Object) []string {
	ctx, cancel := context.WithTimeout(ctx, evidencePause)
	defer cancel()
	family := familyOf(view, o.GetNamespace(), o.GetUID())
	var out []string
	for p := range view.Each(pods, o.GetNamespace()) {
		pod, ok := p.(*corev1.Pod)
		if !ok || !family[pod.UID] {
			continue
		}
		for _, e := range s.lastLines(ctx, pod) {
			out = append(out, e.Lines...)
		}
	}
	return out[max(0, len(out)-maxLines):]
}

// ours tells whether what stands in a hook's way may be deleted for it.
func (s *source) ours(h *plan.Hook, live txn.Object) bool {
	if live.GetAnnotations()[v1alpha1.AnnotationHookOf] == s.name {
		return true
	}
	_, kept := s.inventory.Entries[h.Ref] // before it became a hook
	return kept
}

func (s *source) deleteHook(h *plan.Hook) txn.Change {
	background := metav1.DeletePropagationBackground
	return txn.Change{Verb: txn.Delete, Ref: h.Ref, Propagation: &background, FieldManager: plan.Manager(s.name), Origin: h.Object.Origin(), As: h.As}
}

// runName tells runs of a hook apart.
func (s *source) runName(r *v1alpha1.HookRun) string {
	return fmt.Sprintf("%.12s/%s", s.release.Spec.Commit, r.Stage)
}

// lateHook tells whether a hook has had its time: the commit's, or after a
// failure one of its own.
func (s *source) lateHook(r *v1alpha1.HookRun) bool {
	return !s.now().Before(s.hookDeadline(r))
}

func (s *source) hookDeadline(r *v1alpha1.HookRun) time.Time {
	begun := s.release.Status.StartedTime
	switch {
	case ofRollback(r) && r.StartedTime != nil:
		begun = r.StartedTime
	case r.Stage == v1alpha1.HookPostRollback:
		begun = s.status.AppliedTime // when it went back
	case r.Stage == v1alpha1.HookOnFailure || ofRollback(r) && over(s.release.Status.Phase):
		begun = s.release.Status.FinishedTime
	}
	if begun == nil {
		begun = s.stamp()
	}
	return begun.Add(s.object.Spec.Timeout.Duration)
}

func (s *source) endRun(r *v1alpha1.HookRun, phase v1alpha1.HookPhase, message string) {
	r.Phase, r.Message, r.FinishedTime = phase, message, s.stamp()
}
