package gitsource

import (
	"cmp"
	"context"
	"maps"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/health"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// apply plans and writes a rendered commit.
func (s *source) apply(ctx context.Context, c *repo.Commit, set *render.Set, aim aim, all, current bool) error {
	s.engine.applying.Lock()
	defer s.engine.applying.Unlock()
	s.give()
	// What somebody has changed meanwhile is put back along with the commit.
	s.waiting = nil
	dirty := map[txn.Ref]bool{}
	for ref := range s.broken {
		dirty[ref] = true
	}
	from, err := s.cameOn(ctx, aim)
	if err != nil {
		return err
	}
	job := apply.Job{
		Input: plan.Input{
			Source: s.name, Spec: &s.object.Spec, Ref: from, Set: set, Inventory: s.inventory, Mapper: s.engine.cfg.Mapper,
			Consents: c.Trailers(TrailerAllowDelete), Owner: s.holder, All: all, Dirty: dirty,
			Yields: s.yields, Wanted: s.wantedSince(s.seen),
			Leave: s.leaving(!current), Back: aim.back(), InPlace: current,
		},
	}
	if s.asksConsent(c.ID, aim, current) {
		job.Permit = func(ctx context.Context, view txn.View) error {
			if s.begun(c) { // consented to when its first hook was run
				if a := s.release.Status.Approval; a != nil {
					s.approving.granted = a.Digest
				}
				return nil
			}
			return s.permit(ctx, view, candidate{commit: c, set: set, ref: from})
		}
	}
	job.Release = s.engine.release
	job.Writing = func(stage *plan.Stage) { s.engine.owners.expect(s.name, stage.Changes) }
	defer s.engine.owners.expect(s.name, nil)
	job.Planned = func(p *plan.Plan) {
		s.blocked = len(p.Contested) > 0
		if !aim.back() {
			s.claim(c.ID.String(), p)
		}
	}
	if aim.back() {
		// Exactly that set was asked for, with what has to go for it.
		job.Consents = append(job.Consents, "all")
	} else if !current {
		job.Waits = waits{s}
		if s.inventory.Head.Commit == c.ID.String() {
			// What was written is not looked at again until all is.
			job.Written, job.All = int(s.release.Status.Stage), false
		}
	}
	// What along has noted counts once it is written.
	written := s.save()
	job.Done = func(done apply.Stage) {
		s.applied(done, dirty)
		written = s.save()
	}
	switch {
	case current:
	case aim.quarantined != nil:
		job.Along = s.alongBack
	default:
		job.Along = s.along
	}
	s.hooks.pre, s.approving.granted = false, ""
	switch {
	case current:
	case aim.back():
		err = s.beforeBack(ctx, job)
	default:
		job.Removed = s.leavingHooks(s.release.Spec.Parent)
		err = s.before(ctx, job)
	}
	if err != nil {
		return err
	}
	if err := s.engine.applier.Apply(ctx, job); err != nil {
		s.restoreNotes(written)
		return err
	}
	if job.Permit != nil {
		s.permitted()
	}
	if aim.quarantined == nil && s.release != nil && s.release.Status.AppliedTime == nil {
		s.release.Status.AppliedTime = s.stamp()
	}
	s.rememberHooks(set.Commit.String(), set.Objects)
	return nil
}

// noted is what along changes in advance, because it goes into the transaction.
type noted struct {
	status           v1alpha1.GitSourceStatus
	release          v1alpha1.ReleaseStatus
	problems, fights []v1alpha1.Problem
	contended        map[string]*contest
}

func (s *source) save() noted {
	n := noted{status: *s.status.DeepCopy(), problems: s.problems, fights: s.fights, contended: maps.Clone(s.contended)}
	if s.release != nil {
		n.release = *s.release.Status.DeepCopy()
	}
	return n
}

// restoreNotes takes back what was not written.
func (s *source) restoreNotes(n noted) {
	s.status, s.problems, s.fights, s.contended = n.status, n.problems, n.fights, n.contended
	if s.release != nil {
		s.release.Status = n.release
	}
}

// along gives the changes that record a stage in the API.
func (s *source) along(view txn.View, p *plan.Plan, stage, stages int) []txn.Change {
	st := &s.release.Status
	st.Stage, st.Stages, st.Message = 0, 0, ""
	if stages > 1 {
		st.Stage, st.Stages = int32(stage), int32(stages)
	}
	if st.Phase == v1alpha1.ReleaseFailed || st.StartedTime == nil {
		st.StartedTime = s.stamp()
	}
	if stage < stages {
		st.Phase = v1alpha1.ReleaseApplying
	} else {
		st.Phase = v1alpha1.ReleaseProgressing
		st.AppliedTime = s.stamp()
		s.status.AppliedCommit, s.status.AppliedTime = s.release.Spec.Commit, st.AppliedTime
		s.status.Objects = int32(len(p.Next.Entries))
		s.problems, s.fights, s.status.Problems = nil, nil, nil
		clear(s.contended)
		if s.healthyAtOnce(p) {
			s.finish(v1alpha1.ReleaseHealthy, "")
		} else {
			s.unhealthy(v1alpha1.HealthProgressing)
		}
		s.ready()
	}
	if stage == 1 {
		st.Summary = p.Counts
		st.Outcomes = outcomes(view, p)
		st.PlanDigest = cmp.Or(s.approving.granted, p.Digest(s.engine.cfg.Key, view))
	}
	return s.statusChanges(view)
}

// healthyAtOnce tells whether the objects of a plan are healthy as soon as
// they are written, and all others already are.
func (s *source) healthyAtOnce(p *plan.Plan) bool {
	if s.tracker.Health() != v1alpha1.HealthHealthy || unfinishedRun(s.release.Status.Hooks, afterHooks...) != nil {
		return false
	}
	for _, stage := range p.Stages {
		for _, c := range stage.Changes {
			if e := p.Next.Entries[c.Ref]; c.Verb != txn.Delete && !s.checks.Static(&e) {
				return false
			}
		}
	}
	return true
}

// applied takes over what a stage has written.
func (s *source) applied(done apply.Stage, dirty map[txn.Ref]bool) {
	lets := letsGo(s.inventory, done.Inventory)
	s.engine.owners.replace(s.name, s.inventory, done.Inventory)
	s.inventory = done.Inventory
	if lets {
		s.engine.tellOthers(s.name)
	}
	taken := map[string][]txn.Ref{}
	for _, o := range done.Outcomes {
		if from := done.Plan.Taken[o.Change.Ref]; from != "" {
			taken[from] = append(taken[from], o.Change.Ref)
		}
	}
	for from, refs := range taken {
		s.engine.took(from, refs)
	}
	for i, o := range done.Outcomes {
		if e, ok := done.Inventory.Entries[o.Change.Ref]; ok {
			s.tracker.Set(o.Change.Ref, s.checks.Of(&e, done.Objects[i]))
		}
	}
	s.tracker.Keep(done.Inventory)
	for ref := range done.Plan.Left {
		s.tracker.Set(ref, health.State{Health: v1alpha1.HealthHealthy}) // no longer ours
	}
	if !done.Last {
		return
	}
	s.desired, s.remains = done.Plan.Desired, s.leftProblems(done.Plan.Left)
	s.engine.claims.change(s.name, func(c *claim) bool {
		c.head = s.inventory.Head.Commit
		return false
	})
	for ref := range dirty {
		delete(s.broken, ref)
	}
	for ref := range s.broken {
		if _, ok := s.inventory.Entries[ref]; !ok {
			delete(s.broken, ref) // no longer ours
		}
	}
	s.status.Objects = int32(len(s.inventory.Entries))
	s.status.AppliedCommit = s.inventory.Head.Commit
	s.problems = nil
	s.ready()
}

// ready says what is applied, and why it is not the newest commit.
func (s *source) ready() {
	pin := s.object.Spec.Pin
	switch {
	case pin != nil && pin.Commit == s.status.AppliedCommit:
		s.condition(v1alpha1.ConditionReady, true, "Pinned", pinning(pin, s.status.ObservedCommit))
	case s.rolledBack():
		message := s.release.Status.Message
		s.condition(v1alpha1.ConditionReady, false, "RolledBack", message)
		s.condition(v1alpha1.ConditionStalled, true, "RolledBack", message)
		s.problems = s.release.Status.Problems
		return
	case s.status.Promotion != nil:
		s.condition(v1alpha1.ConditionReady, true, "Applied", "the newest commit that may follow is applied; "+s.status.Promotion.Message)
	default:
		s.condition(v1alpha1.ConditionReady, true, "Applied", "the newest commit is applied")
	}
	meta.RemoveStatusCondition(&s.status.Conditions, v1alpha1.ConditionStalled)
}

// refuse notes why a commit is not applied.
func (s *source) refuse(r *apply.Refused, current bool) {
	problems := r.Problems[:min(len(r.Problems), maxProblems)]
	reason := "Refused"
	if r.Held {
		reason = "Held"
	}
	s.condition(v1alpha1.ConditionReady, false, reason, r.Error())
	s.condition(v1alpha1.ConditionStalled, !r.Again, reason, r.Error())
	s.problems = problems
	if current {
		return // it is applied; only the comparison with git has failed
	}
	s.release.Status.Phase = v1alpha1.ReleaseRefused
	s.release.Status.Problems = problems
	s.release.Status.Message = r.Error()
	s.release.Status.FinishedTime = s.stamp()
}
