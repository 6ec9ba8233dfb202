package gitsource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/failpoint"
)

// statuses are what the API server is known to have.
type statuses struct {
	source  v1alpha1.GitSourceStatus
	release v1alpha1.ReleaseStatus
}

func (s *source) stamp() *metav1.Time {
	return &metav1.Time{Time: s.now().UTC().Truncate(time.Second)}
}

// reasonRewritten is why a commit is held that does not descend from the
// applied one.
const reasonRewritten = "HistoryRewritten"

func (s *source) condition(kind string, ok bool, reason, message string) {
	state := metav1.ConditionFalse
	if ok {
		state = metav1.ConditionTrue
	}
	if len(message) > 1024 {
		message = message[:1021] + "..."
	}
	old := meta.FindStatusCondition(s.status.Conditions, kind)
	if worth := kind == v1alpha1.ConditionFetched || kind == v1alpha1.ConditionVerified || kind == v1alpha1.ConditionForge || reason == reasonRewritten; worth && !ok && (old == nil || old.Reason != reason) {
		s.engine.cfg.Events(s.object, corev1.EventTypeWarning, reason, message)
	}
	meta.SetStatusCondition(&s.status.Conditions, metav1.Condition{
		Type: kind, Status: state, Reason: reason, Message: message, ObservedGeneration: s.status.ObservedGeneration, LastTransitionTime: *s.stamp(),
	})
}

// settle judges the health of what is applied, and has a commit that failed
// taken back.
func (s *source) settle(ctx context.Context) {
	s.status.DriftCount = int32(len(s.records))
	s.status.Problems = slices.Concat(s.problems, s.fights, s.rivals, s.remains)
	s.settleWait(ctx)
	if s.inventory.Head.Commit == "" {
		s.status.Health = v1alpha1.HealthUnknown
		return
	}
	health := s.tracker.Health()
	open := s.release != nil && s.release.Spec.Commit == s.inventory.Head.Commit && s.inventory.Head.Complete &&
		(s.release.Status.Phase == v1alpha1.ReleaseProgressing || s.release.Status.Phase == v1alpha1.ReleaseFailed)
	if open && s.settleHooks(ctx) {
		return
	}
	if health == v1alpha1.HealthHealthy {
		if open {
			s.finish(v1alpha1.ReleaseHealthy, "")
		}
		if s.inventory.Head.Complete {
			s.healthy()
		} else { // as far as it is written
			s.unhealthy(v1alpha1.HealthProgressing)
		}
		return
	}
	s.unhealthy(health)
	if !open || s.release.Status.Phase == v1alpha1.ReleaseFailed {
		return
	}
	late := !s.now().Before(s.deadline())
	if health != v1alpha1.HealthDegraded && !late {
		return
	}
	problems := s.tracker.Problems(s.inventory, maxProblems)
	message := problems[0].String()
	if health != v1alpha1.HealthDegraded {
		message = fmt.Sprintf("not healthy within %s: %s", s.object.Spec.Timeout.Duration, message)
	}
	s.fail(ctx, problems, message)
}

// settleHooks looks at the hooks after a commit that is written. It tells
// whether the commit's end is up to them.
func (s *source) settleHooks(ctx context.Context) bool {
	st := &s.release.Status
	if r := failedRun(st.Hooks, afterHooks...); r != nil {
		failure := &hookFailure{*r}
		if st.Phase == v1alpha1.ReleaseProgressing {
			s.fail(ctx, []v1alpha1.Problem{failure.problem()}, failure.Error())
		}
		s.status.Health = v1alpha1.HealthDegraded
		s.condition(v1alpha1.ConditionHealthy, false, v1alpha1.HealthDegraded, failure.Error())
		return true
	}
	r := unfinishedRun(st.Hooks, afterHooks...)
	if r == nil || s.tracker.Health() != v1alpha1.HealthHealthy {
		return false
	}
	st.Message = (&hookWait{*r}).Error()
	s.status.Health = v1alpha1.HealthProgressing
	s.condition(v1alpha1.ConditionHealthy, false, v1alpha1.HealthProgressing, st.Message)
	return true
}

// finish closes the release.
func (s *source) finish(phase v1alpha1.ReleasePhase, message string) {
	st := &s.release.Status
	st.Phase, st.Message, st.FinishedTime = phase, message, s.stamp()
	stages := []v1alpha1.HookStage{v1alpha1.HookPre, v1alpha1.HookSync, v1alpha1.HookPost, v1alpha1.HookPreRollback, v1alpha1.HookPostRollback}
	if phase == v1alpha1.ReleaseHealthy {
		stages = []v1alpha1.HookStage{v1alpha1.HookOnFailure}
	}
	skipRuns(st.Hooks, "", stages...)
	if phase == v1alpha1.ReleaseHealthy {
		st.Problems = nil
		s.healthy()
	}
}

func (s *source) healthy() {
	s.untold = false
	s.status.Health = v1alpha1.HealthHealthy
	s.status.HealthyCommit = s.status.AppliedCommit
	s.condition(v1alpha1.ConditionHealthy, true, "Healthy", "every object is healthy")
}

// tellEvery is how often the status says anew what is not healthy while many
// objects are on their way: not with each that arrives.
const tellEvery = time.Second

func (s *source) unhealthy(health string) {
	s.status.Health = health
	old := meta.FindStatusCondition(s.status.Conditions, v1alpha1.ConditionHealthy)
	if s.untold = old != nil && old.Reason == health && s.now().Before(s.told.Add(tellEvery)); s.untold {
		return
	}
	s.told = s.now()
	message := ""
	if problems := s.tracker.Problems(s.inventory, 1); len(problems) > 0 {
		message = problems[0].String()
	}
	s.condition(v1alpha1.ConditionHealthy, false, health, message)
}

// statusChanges are the changes that bring the API's GitSource and Release to
// what is known here, on a View.
func (s *source) statusChanges(view txn.View) []txn.Change {
	var changes []txn.Change
	if o, ok := view.Get(txn.Ref{Resource: gitSources, Name: s.name}); ok {
		changed := o.(*v1alpha1.GitSource).DeepCopy()
		changed.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "GitSource"}
		changed.Status = *s.status.DeepCopy()
		changed.Status.Approvals = o.(*v1alpha1.GitSource).DeepCopy().Status.Approvals // which are written elsewhere
		if !equality.Semantic.DeepEqual(o.(*v1alpha1.GitSource).Status, changed.Status) {
			changes = append(changes, s.write(txn.Update, txn.Ref{Resource: gitSources, Name: s.name}, "status", changed))
		}
		if c := s.spent(view, changed); c != nil {
			changes = append(changes, *c)
		}
	}
	if s.release == nil {
		return changes
	}
	ref := txn.Ref{Resource: releases, Name: s.release.Name}
	o, ok := view.Get(ref)
	if !ok && s.written.release.Phase != "" {
		return changes // somebody has deleted it, and will have the commit tried again
	}
	if !ok {
		created := s.release.DeepCopy()
		changes = append(changes, s.write(txn.Create, ref, "", created), s.write(txn.Update, ref, "status", created.DeepCopy()))
		changes = append(changes, s.forget(view)...)
	} else if stored := o.(*v1alpha1.Release); !equality.Semantic.DeepEqual(stored.Status, s.release.Status) {
		changed := stored.DeepCopy()
		changed.TypeMeta = s.release.TypeMeta
		changed.Status = *s.release.Status.DeepCopy()
		changes = append(changes, s.write(txn.Update, ref, "status", changed))
	}
	return append(changes, s.superseded(view)...)
}

// superseded closes the releases before that never came to an end.
func (s *source) superseded(view txn.View) []txn.Change {
	this := s.release
	if this.Status.Phase == s.written.release.Phase || s.status.AppliedCommit != this.Spec.Commit {
		return nil
	}
	var changes []txn.Change
	for o := range view.Each(releases, "") {
		r := o.(*v1alpha1.Release)
		if r.Spec.Source != s.name || r.Name == this.Name || !unfinished(r) {
			continue
		}
		changed := r.DeepCopy()
		changed.TypeMeta = this.TypeMeta
		changed.Status.Phase = v1alpha1.ReleaseSuperseded
		changed.Status.Message = fmt.Sprintf("%.12s was applied before it became healthy", this.Spec.Commit)
		changed.Status.FinishedTime = s.stamp()
		skipRuns(changed.Status.Hooks, "a newer commit came", v1alpha1.HookPre, v1alpha1.HookSync, v1alpha1.HookPost, v1alpha1.HookOnFailure,
			v1alpha1.HookPreRollback, v1alpha1.HookPostRollback)
		changes = append(changes, s.write(txn.Update, txn.Ref{Resource: releases, Name: r.Name}, "status", changed))
	}
	return changes
}

func unfinished(r *v1alpha1.Release) bool {
	switch r.Status.Phase {
	case v1alpha1.ReleasePlanned, v1alpha1.ReleaseApplying, v1alpha1.ReleaseProgressing:
		return true
	}
	return false
}

func (s *source) write(verb txn.Verb, ref txn.Ref, subresource string, o txn.Object) txn.Change {
	o.SetResourceVersion("")
	o.SetManagedFields(nil)
	return txn.Change{Verb: verb, Ref: ref, Version: v1alpha1.SchemeGroupVersion.Version, Subresource: subresource, Object: o, FieldManager: "headway"}
}

// flush writes what has changed of the statuses, and has it reported.
func (s *source) flush(ctx context.Context) error {
	same := equality.Semantic.DeepEqual(s.status, s.written.source) && (s.release == nil || equality.Semantic.DeepEqual(s.release.Status, s.written.release))
	if !same {
		if err := failpoint.Hit(ctx, "gitsource.status.before"); err != nil {
			return err
		}
		_, _, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, txn.CommitOptions{Epoch: s.engine.applier.Epoch},
			func(view txn.View) ([]txn.Change, error) { return s.statusChanges(view), nil })
		if err != nil {
			return fmt.Errorf("write status: %w", err)
		}
		if err := failpoint.Hit(ctx, "gitsource.status.after"); err != nil {
			return err
		}
		s.written.source = *s.status.DeepCopy()
		if s.release != nil {
			s.written.release = *s.release.Status.DeepCopy()
		}
	}
	s.reporter.publish(ctx, s)
	s.notifier.publish(s)
	s.forging.note(s)
	s.recordEvents()
	return nil
}

// maxOutcomes is how many objects a Release names.
const maxOutcomes = 200

// released are the objects that a plan leaves to others.
func released(p *plan.Plan) []v1alpha1.ObjectOutcome {
	var out []v1alpha1.ObjectOutcome
	for _, ref := range slices.SortedFunc(maps.Keys(p.Left), txn.Ref.Compare) {
		if len(out) < maxOutcomes {
			out = append(out, v1alpha1.ObjectOutcome{Object: ref.String(), Operation: "released", Origin: p.Next.Entries[ref].Origin})
		}
	}
	return out
}

// outcomes are what a plan is about to do to each object.
func outcomes(view txn.View, p *plan.Plan) []v1alpha1.ObjectOutcome {
	out := released(p)
	for _, stage := range p.Stages {
		for _, c := range stage.Changes {
			if len(out) == maxOutcomes {
				return out
			}
			operation := txn.Deleted
			switch {
			case c.Verb == txn.Delete && p.Replaced[c.Ref]:
				continue // it is named where it is created
			case p.Replaced[c.Ref]:
				operation = plan.Replaced
			case c.Verb != txn.Delete:
				operation = txn.Updated
				if _, ok := view.Get(c.Ref); !ok {
					operation = txn.Created
				}
			}
			out = append(out, v1alpha1.ObjectOutcome{Object: c.Ref.String(), Operation: string(operation), Origin: c.Origin})
		}
	}
	return out
}
