package gitsource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/health"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// The pause before what failed for no fault of the commit is tried again.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
)

// source is the goroutine of one GitSource and everything it knows.
type source struct {
	engine *Engine
	name   string
	log    *slog.Logger
	wake   chan struct{}
	cancel context.CancelFunc
	after  <-chan struct{} // ends when the one before us has; may be nil
	done   chan struct{}

	mu      sync.Mutex // guards all below
	pending pending
	gone    bool      // was deleted
	given   []txn.Ref // of the inventory, that others have taken

	// What follows belongs to the goroutine of run.
	object   *v1alpha1.GitSource // with its defaults
	follower *follower
	reporter *reporter
	notifier *notifier
	forging  *forging
	outlet   *outlet // of reports; nil before the first
	// unwritable is why reports do not go to the source's own repository.
	unwritable string

	inventory  *plan.Inventory
	desired    map[txn.Ref]*render.Object // of the applied commit; nil when it could not be rendered
	previews   previews
	environing environing
	tenancy    *plan.Tenancy
	checks     *health.Judge
	rules      *drift.Rules
	ruled      time.Time   // when the rules were last looked at as a whole
	unkept     *render.Set // applied, and not kept on disk yet
	tracker    *health.Tracker
	records    []drift.Record
	broken     map[txn.Ref]breakage // drift to be corrected
	contended  map[string]*contest
	problems   []v1alpha1.Problem // with the commit
	fights     []v1alpha1.Problem // with drift
	slept      bool               // was suspended when last looked at
	reverting  reverting
	told       time.Time // when the status last said what is not healthy
	untold     bool      // it has to be said anew

	requested request // what the remote was asked for last

	frozen    freezing
	approving approving
	promoting time.Time      // when another environment's commit has been healthy for long enough
	waiting   *apply.Waiting // nil while no wave waits
	hooks     hooks
	back      backHooks
	parting   partingHooks
	blocked   bool               // the commit is held for objects of others
	rivals    []v1alpha1.Problem // others that ask for objects of this one
	remains   []v1alpha1.Problem // objects that are left for others
	seen      int64              // when the newest commit was, by claims.tick
	owed      bool               // everything is to be compared once the commit is applied

	status   v1alpha1.GitSourceStatus
	release  *v1alpha1.Release // of the newest commit that was tried
	written  statuses          // what the API server has
	recorded recorded
	looks    looks
	tried    trial // what was tried last, so that it is not tried again for nothing

	retry   time.Duration
	retryAt time.Time
}

// trial is a commit and the spec it was tried with.
type trial struct {
	commit     repo.ID
	generation int64
	consent    string // to rewritten history
	again      bool   // worth another try without a change
}

func (t trial) same(o trial) bool {
	t.again, o.again = false, false
	return t == o
}

func newSource(e *Engine, name string, after <-chan struct{}) *source {
	return &source{
		engine: e, name: name, log: e.cfg.Logger.With("source", name), wake: make(chan struct{}, 1),
		after: after, done: make(chan struct{}), checks: &health.Judge{}, tracker: &health.Tracker{},
		broken: map[txn.Ref]breakage{}, contended: map[string]*contest{},
	}
}

func (s *source) now() time.Time { return s.engine.cfg.Clock.Now() }

// run works until the context ends; the engine's own ends with the engine. The
// error, if any, ends the engine.
func (s *source) run(ctx, engine context.Context) error {
	defer close(s.done)
	if s.after != nil {
		<-s.after
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	s.reporter, s.notifier, s.forging = newReporter(s), newNotifier(s), newForging(s)
	if err := s.notifier.load(ctx); err != nil {
		return err
	}
	defer func() { s.follower.close() }()
	defer func() { s.outlet.close() }()
	var background sync.WaitGroup
	defer func() {
		background.Wait()
		if s.deleted() {
			s.reporter.retract(engine)
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	background.Go(func() { s.reporter.run(ctx) })
	background.Go(func() { s.notifier.run(ctx) })
	background.Go(func() { s.forging.run(ctx) })
	timer := s.engine.cfg.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if !timer.Stop() {
			select {
			case <-timer.C():
			default:
			}
		}
		timer.Reset(s.next())
		if s.next() > 0 { // else it fell due before the timer was set
			select {
			case <-ctx.Done():
				return nil
			case <-s.wake:
			case <-timer.C():
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		err := s.step(ctx, s.take())
		switch {
		case errors.Is(err, txn.ErrEpoch):
			return err
		case err != nil && ctx.Err() == nil:
			s.failed(err)
		}
	}
}

func (s *source) deleted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// load reads what earlier runs have left.
func (s *source) load(ctx context.Context) error {
	db := s.engine.cfg.Txn
	notes, err := db.Notes(ctx, plan.Prefix+s.name+"/")
	if err != nil {
		return fmt.Errorf("read inventory of %s: %w", s.name, err)
	}
	all, err := plan.Load(notes)
	if err != nil {
		return err
	}
	if s.inventory = all[s.name]; s.inventory == nil {
		s.inventory = plan.NewInventory()
	}
	if notes, err = db.Notes(ctx, drift.Prefix+s.name+"/"); err != nil {
		return fmt.Errorf("read drift of %s: %w", s.name, err)
	}
	if s.records, err = drift.Load(notes); err != nil {
		return err
	}
	if err := s.loadGrounds(ctx); err != nil {
		return err
	}
	view, err := db.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	s.tracker = health.NewTracker(s.checks, s.inventory, view)
	s.remember(view)
	s.recorded = s.recordedBefore(view)
	return nil
}

// remember takes over the statuses that are stored.
func (s *source) remember(view txn.View) {
	if o, ok := view.Get(txn.Ref{Resource: gitSources, Name: s.name}); ok {
		s.status = *o.(*v1alpha1.GitSource).Status.DeepCopy()
		s.status.Approvals = nil // which others write
		s.written.source = *s.status.DeepCopy()
	}
	if s.inventory.Head.Commit == "" {
		return
	}
	if s.inventory.Head.Complete {
		s.status.AppliedCommit = s.inventory.Head.Commit
	}
	name := v1alpha1.ReleaseName(s.name, s.inventory.Head.Commit)
	if o, ok := view.Get(txn.Ref{Resource: releases, Name: name}); ok {
		s.release = o.(*v1alpha1.Release).DeepCopy()
		s.written.release = *s.release.Status.DeepCopy()
	}
}

// step looks at everything that is pending, in the order in which it matters.
func (s *source) step(ctx context.Context, p pending) error {
	now := s.now()
	s.give()
	if p.object != nil {
		// Whose rights count now, they count for what is there already too.
		p.all = p.all || s.object != nil && !sameActors(&s.object.Spec, &p.object.Spec)
		if err := s.configure(ctx, p.object); err != nil {
			return err
		}
	}
	if s.object == nil {
		return nil
	}
	if leaves, err := s.leaves(ctx); err != nil {
		return err
	} else if leaves {
		return s.leave(ctx)
	}
	if p.opened {
		s.follow(ctx)
	}
	if p.all {
		// Writes were not kept for this step: what they have made of the
		// objects is looked at too.
		view, err := s.engine.cfg.Txn.View(ctx)
		if err != nil {
			return fmt.Errorf("view: %w", err)
		}
		s.tracker = health.NewTracker(s.checks, s.inventory, view)
	}
	s.request()
	s.forgive(p.forgiven)
	s.takeRevert(p.reverted)
	s.takeAsked(p.asked)
	s.takeForged(p.forged)
	s.takeReported(p.reported)
	if !s.promoting.IsZero() && !now.Before(s.promoting) {
		s.promoting, p.refs = time.Time{}, true
	}
	moved := s.moved(&p)
	due := !s.retryAt.IsZero() && !now.Before(s.retryAt)
	if due {
		s.retryAt = time.Time{}
	}
	s.observe(ctx, p.writes)
	s.observeHooks(p.hooks)
	var err error
	woken := s.slept && !s.suspended()
	if woken {
		s.slept = false
	}
	// What a rule let through is put back when the rule ends.
	if next := s.rules.Next(s.ruled); !s.ruled.IsZero() && !next.IsZero() && !now.Before(next) {
		p.all = true
	}
	s.ruled = now
	thawed, compare := s.thawed(now)
	p.all = p.all || compare
	if p.approved {
		err = s.keepGrounds(ctx)
		// Those that may be approved say by whom.
		maps.DeleteFunc(s.previews.planned, func(_ string, p planned) bool { return p.status.Approval != "" })
	}
	if s.previews.note(p.writes, p.all) {
		s.approving.stale = true
	}
	relook := s.relook(&p)
	replan := s.approving.isDue(now)
	if replan { // should it not come to that now, it is not due all the time
		s.approving.stale, s.approving.at, s.approving.until = false, now, time.Time{}
	}
	if err == nil && (p.object != nil || p.opened || p.refs || p.approved || replan || p.all || p.forgiven != nil || due || woken || thawed || relook || s.passable(ctx) || s.hooksDue(p.hooks) || moved) {
		// Comparing everything would also correct, where only reports are asked for.
		all := (p.all || woken) && s.object.Spec.Drift.Policy != v1alpha1.DriftReport
		err = s.sync(ctx, all, due)
		s.acknowledge(p.fetched)
	}
	if err == nil && len(s.broken) > 0 && !s.suspended() {
		err = s.correct(ctx)
	}
	if p.all { // also when the source begins, or something was missed
		unanswered, planErr := s.unanswered(ctx, p.plans)
		p.plans, err = append(p.plans, unanswered...), errors.Join(err, planErr)
	}
	for _, name := range p.plans {
		if planErr := s.answer(ctx, name); planErr != nil {
			err = errors.Join(err, planErr)
		}
	}
	if err == nil && (p.refs || p.approved || p.opened || p.object != nil || p.all || due || s.previews.isDue(now)) {
		err = s.lookAtPreviews(ctx)
	}
	if err == nil && (p.refs || p.opened || p.object != nil || p.all || p.environs || due || s.environing.isDue(now)) {
		err = s.lookAtEnvironments(ctx)
	}
	if err == nil {
		err = s.runHooks(ctx)
	}
	s.settle(ctx)
	s.credit()
	s.revert()
	if err == nil && !s.retryAt.After(s.now()) {
		s.retry = 0 // else another try is planned, and the next wait is longer
	}
	err = errors.Join(err, s.flush(ctx))
	if err == nil {
		err = s.endEnvironments(ctx)
	}
	s.keep() // last: nobody waits for it
	return err
}

// configure takes over a changed GitSource.
func (s *source) configure(ctx context.Context, o *v1alpha1.GitSource) error {
	o = o.DeepCopy()
	v1alpha1.SetDefaultsGitSource(o)
	old := s.object
	s.object = o
	s.tenancy = plan.NewTenancy(&o.Spec)
	s.rules = drift.NewRules(&o.Spec.Drift)
	s.engine.owners.rule(s.name, s.rules)
	observed := s.status.ObservedGeneration
	if observed != o.Generation {
		s.unwritable = "" // with another spec it may take them
	}
	s.status.ObservedGeneration = o.Generation
	if old == nil || needsReopen(&old.Spec, &o.Spec) {
		s.follow(ctx)
	}
	s.announce(old, o, observed)
	if old != nil && reflect.DeepEqual(old.Spec.Health.Checks, o.Spec.Health.Checks) || old == nil && len(o.Spec.Health.Checks) == 0 {
		return nil
	}
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	var errs []error
	if s.checks, errs = health.NewJudge(o.Spec.Health.Checks); len(errs) > 0 {
		s.log.Warn("health checks are left out", "errors", errs) // the API server refuses such
	}
	s.tracker = health.NewTracker(s.checks, s.inventory, view)
	return nil
}

// failed plans another try after an error that is nobody's fault.
func (s *source) failed(err error) {
	s.retry = min(max(2*s.retry, firstRetry), lastRetry)
	s.retryAt = s.now().Add(s.retry)
	s.log.Warn("will try again", "error", err, "in", s.retry)
}

// next is how long nothing needs to be done.
func (s *source) next() time.Duration {
	const never = 1000 * time.Hour
	at := s.now().Add(never)
	sooner := func(t time.Time) {
		// After a failure nothing else that is due is tried before that.
		if now := s.now(); !t.IsZero() && t.Before(at) && (t.After(now) || !s.retryAt.After(now)) {
			at = t
		}
	}
	sooner(s.retryAt)
	sooner(s.looks.at)
	sooner(s.rules.Next(s.now()))
	sooner(s.previews.due())
	sooner(s.environing.due)
	sooner(s.approving.due())
	sooner(s.promoting)
	sooner(s.reverting.at)
	sooner(s.frozen.thaw)
	if s.untold {
		sooner(s.told.Add(tellEvery))
	}
	if s.object != nil {
		if s.release != nil && (s.release.Status.Phase == v1alpha1.ReleaseProgressing || s.release.Status.Phase == v1alpha1.ReleaseApplying) {
			sooner(s.deadline())
		}
		if s.release != nil && over(s.release.Status.Phase) {
			for _, stage := range []v1alpha1.HookStage{v1alpha1.HookOnFailure, v1alpha1.HookPreRollback, v1alpha1.HookPostRollback} {
				if r := unfinishedRun(s.release.Status.Hooks, stage); r != nil && r.Phase == v1alpha1.HookRunning && (stage != v1alpha1.HookPreRollback || !s.suspended()) {
					sooner(s.hookDeadline(r))
				}
			}
		}
		if p := s.object.Spec.Suspend; p != nil && p.Until != nil && s.suspended() {
			sooner(p.Until.Time)
		}
	}
	return max(0, at.Sub(s.now()))
}

func (s *source) suspended() bool {
	p := s.object.Spec.Suspend
	return p != nil && (p.Until == nil || s.now().Before(p.Until.Time))
}

// deadline is when a release that is not healthy yet has failed.
func (s *source) deadline() time.Time {
	begun := s.release.Status.StartedTime
	if begun == nil {
		begun = s.release.Status.AppliedTime
	}
	if begun == nil {
		return time.Time{}
	}
	return begun.Add(s.object.Spec.Timeout.Duration)
}

// observe takes in what was written to objects of the inventory.
func (s *source) observe(ctx context.Context, writes []txn.Write) {
	for _, w := range writes {
		e, ok := s.inventory.Entries[w.Ref]
		if !ok {
			continue
		}
		if e.Left {
			continue
		}
		s.tracker.Set(w.Ref, s.checks.Of(&e, w.After))
		if s.engine.wrote(w.Identity) || w.Subresource == "status" || e.Going() {
			continue
		}
		s.sign(&e, &w)
		f := drift.Look(s.name, s.rules, &e, w, func() bool { return s.scaled(ctx, &e) })
		if f != nil {
			r := f.Record
			s.records = append(s.records, *r)
			s.status.LastDriftTime = &metav1.Time{Time: r.Time}
			s.recordDrift(r)
		}
		switch {
		case f != nil && f.Correct:
			s.broken[w.Ref] = breakage{before: w.Before, record: f.Record}
		case w.After == nil && s.rules.For(&e, "", w.Time) == v1alpha1.DriftCorrect:
			// An object that was being deleted is gone only now.
			s.broken[w.Ref] = breakage{before: w.Before}
		}
	}
}

// scaled tells whether an autoscaler looks after an object.
func (s *source) scaled(ctx context.Context, e *plan.Entry) bool {
	view, err := s.engine.cfg.Txn.View(ctx)
	return err == nil && drift.Scaled(view, e)
}

// breakage is an object that is not as git says.
type breakage struct {
	before txn.Object    // as it was
	record *drift.Record // who did it; nil when that was recorded before
}
