package gitsource

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/health"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/failpoint"
)

// maxProblems is how many problems a status carries.
const maxProblems = 20

// TrailerAllowDelete is the trailer by which a commit consents to deletions.
const TrailerAllowDelete = "Allow-Delete"

// sync brings the cluster to the newest commit. all compares every object with
// git; again tries once more what was refused.
func (s *source) sync(ctx context.Context, all, again bool) error {
	observed, ok := s.fetch(ctx)
	if !ok && s.object.Spec.Pin == nil {
		return nil
	}
	if err := failpoint.Hit(ctx, "gitsource.fetch.after"); err != nil {
		return err
	}
	aim, err := s.aim(ctx, observed)
	if err != nil {
		return err
	}
	id := aim.id
	current := s.inventory.Head.Complete && s.inventory.Head.Commit == id.String()
	this := trial{commit: id, generation: s.object.Generation, consent: s.object.Annotations[v1alpha1.AnnotationAllowRewrite]}
	switch {
	case s.suspended():
		s.slept = true
		s.condition(v1alpha1.ConditionReady, false, "Suspended", suspension(s.object.Spec.Suspend))
		return nil
	case s.tried.same(this) && !all && !(again && s.tried.again):
		return nil // applied, or refused for what has not changed
	}
	kept := s.kept(aim)
	commit, err := s.commit(id, kept)
	if err != nil && aim.pinned {
		s.tried = this
		s.unknownPin(err)
		return nil
	}
	if err != nil {
		return err
	}
	if !current && !aim.back() {
		ok, err := s.descends(ctx, id)
		if err != nil {
			return err
		}
		if !ok {
			s.tried = this
			s.hold(id)
			return nil
		}
	}
	if aim.quarantined != nil {
		s.takeUp(aim.quarantined)
	} else if err := s.begin(ctx, commit, current); err != nil {
		return err
	} else if refusal, err := s.verified(ctx, aim, current); err != nil {
		return err
	} else if refusal != nil && !current {
		s.unverified(this, refusal)
		return nil
	}
	switch frozen, err := s.frozenNow(ctx, commit, aim); {
	case apply.AsRefused(err) != nil:
		s.tried = this
		s.refuse(apply.AsRefused(err), false)
		return nil
	case err != nil || frozen:
		return err
	case current && all && s.leavesDrift(""):
		return nil // compared when the window opens
	}
	if waits, err := s.waits(ctx, id, aim); err != nil || waits {
		return err
	}
	set, problems := kept, []v1alpha1.Problem(nil)
	if set == nil {
		if set, problems, err = s.follower.renderer.Render(ctx, id); err != nil {
			return fmt.Errorf("render %s: %w", id, err)
		}
	}
	if err := failpoint.Hit(ctx, "gitsource.render.after"); err != nil {
		return err
	}
	if len(problems) > 0 {
		err = &apply.Refused{Problems: problems, Again: s.follower.renderer.Keyless()}
	} else {
		s.owed = s.owed || all && !current && s.inventory.Head.Commit == id.String()
		if err = s.apply(ctx, commit, set, aim, all, current); err == nil {
			s.unkept = set
		}
		if err == nil && s.owed {
			s.owed = false
			s.tell(func(p *pending) { p.all = true })
		}
	}
	var running *hookWait
	var failed *hookFailure
	switch w := apply.AsWaiting(err); {
	case w != nil:
		s.wait(w)
		return nil
	case errors.As(err, &running):
		return nil
	case errors.As(err, &failed):
		s.tried = this
		s.failedBefore(ctx, failed)
		return nil
	}
	refused := apply.AsRefused(err)
	if err != nil && refused == nil {
		return err
	}
	s.tried = this
	if refused != nil {
		s.tried.again = refused.Again
		s.refuse(refused, current || aim.quarantined != nil)
		if refused.Again {
			s.failed(refused)
		}
	}
	return nil
}

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
	case s.object.Annotations[v1alpha1.AnnotationAllowRewrite] == id.String():
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
			s.release.Status = v1alpha1.ReleaseStatus{Phase: phase, ObservedTime: s.release.Status.ObservedTime}
		}
		return nil
	}
	message := c.Message
	if len(message) > 4096 {
		message = strings.ToValidUTF8(message[:4096], "")
	}
	s.release = &v1alpha1.Release{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Release"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.ReleaseSpec{
			Source: s.name, Commit: c.ID.String(), Ref: s.status.ObservedRef, Author: c.Author, Committer: c.Committer,
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
	job := apply.Job{
		Input: plan.Input{
			Source: s.name, Spec: &s.object.Spec, Ref: s.status.ObservedRef, Set: set, Inventory: s.inventory, Mapper: s.engine.cfg.Mapper,
			Consents: c.Trailers(TrailerAllowDelete), Owner: s.holder, All: all, Dirty: dirty,
			Yields: s.yields, Wanted: s.wantedSince(s.seen),
			Leave: s.leaving(!current), Back: aim.back(), InPlace: current,
		},
	}
	job.Release = s.engine.release
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
	s.hooks.pre = false
	if !current && !aim.back() {
		if err := s.before(ctx, job); err != nil {
			return err
		}
	}
	if err := s.engine.applier.Apply(ctx, job); err != nil {
		s.restoreNotes(written)
		return err
	}
	if aim.quarantined == nil && s.release != nil && s.release.Status.AppliedTime == nil {
		s.release.Status.AppliedTime = s.stamp()
	}
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
		st.PlanDigest = p.Digest(s.engine.cfg.Key, view)
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

func suspension(p *v1alpha1.Suspension) string {
	out := "suspended"
	if p.By != "" {
		out += " by " + p.By
	}
	if p.Until != nil {
		out += " until " + p.Until.UTC().Format("2006-01-02 15:04 UTC")
	}
	if p.Reason != "" {
		out += ": " + p.Reason
	}
	return out
}
