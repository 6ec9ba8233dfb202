// Package apply writes a planned commit: each stage as one transaction that
// carries the inventory with it, so that after a crash at any moment the
// inventory tells exactly what is in the cluster.
//
//	plan ─► check everything ─► stage 1 ─► … ─► stage n
//	  ▲                            │ conflict: again on a newer View, at most 3 rounds
//	  └────────────────────────────┘
//
// A stage whose wave has to wait ends the run with *Waiting. Nothing is
// remembered of it: whoever applies the commit again, be it after a crash, goes
// on from the inventory.
package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/internal/failpoint"
)

// Applier writes under one identity.
type Applier struct {
	Txn      txn.Interface
	Identity txn.Identity
	Epoch    txn.Epoch
}

// Job is one commit to be applied.
type Job struct {
	plan.Input // without its View

	// Along gives the changes that are written with a stage beside the
	// commit's own objects, such as its Release; nil for none. They must not
	// touch an object of the plan.
	Along func(view txn.View, p *plan.Plan, stage, stages int) []txn.Change
	// Writing is called before a stage is written; it may be nil.
	Writing func(*plan.Stage)
	// Done is called after each stage.
	Done func(Stage)
	// Release gives the notes by which another source's inventory lets objects
	// go that are taken over from it.
	Release func(owner string, refs []txn.Ref) []txn.Note
	// Planned is called with each plan that is made; it may be nil.
	Planned func(*plan.Plan)
	// Permit is asked before anything of the commit is written, on the very View
	// that it is planned on; its error ends the run. Nil permits everything.
	Permit func(ctx context.Context, view txn.View) error
	// Written is how many stages of the commit were written before.
	Written int
}

// Stage is what one transaction has done.
type Stage struct {
	Plan      *plan.Plan
	Inventory *plan.Inventory
	Revision  int64
	Last      bool
	// Outcomes and Objects are those of the commit's own changes.
	Outcomes []txn.Outcome
	Objects  []txn.Object
}

// Waiting says that a stage cannot be written yet; what comes before it is.
type Waiting struct {
	// After are the objects that have to become healthy first.
	After []txn.Ref
	// Gone are those that have to be gone first.
	Gone []txn.Ref
	// Written of so many Stages are done.
	Written, Stages int
}

func (w *Waiting) Error() string {
	refs, what := w.After, ""
	if len(w.Gone) > 0 {
		refs, what = w.Gone, " to be gone"
	}
	text := fmt.Sprintf("stage %d of %d waits for %s", w.Written+1, w.Stages, refs[0])
	if n := len(refs) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text + what
}

// Refused says that a commit cannot be applied, and why; nothing of it was
// written unless an earlier stage was.
type Refused struct {
	Problems []v1alpha1.Problem
	// Held says that only a consent is missing.
	Held bool
	// Again says that the cluster's state may be the reason: the same commit
	// may pass later.
	Again bool
}

func (r *Refused) Error() string {
	if len(r.Problems) == 1 {
		return r.Problems[0].String()
	}
	return fmt.Sprintf("%s (and %d more)", r.Problems[0], len(r.Problems)-1)
}

// Apply writes a job. It returns *Refused when the commit is to blame, *Waiting
// when a wave waits for the ones before it, and any other error when it may be
// tried again as it is. When nothing has to be written, nothing is.
func (a *Applier) Apply(ctx context.Context, job Job) error {
	rounds, written, checked := 1, job.Written, false
	for {
		view, err := a.Txn.View(ctx)
		if err != nil {
			return fmt.Errorf("view: %w", err)
		}
		in := job.Input
		in.View = view
		p := plan.Make(in)
		if job.Planned != nil {
			job.Planned(p)
		}
		if len(p.Problems) > 0 {
			return &Refused{Problems: p.Problems, Held: p.Held, Again: p.Passing}
		}
		if job.Permit != nil && written == 0 {
			if err := job.Permit(ctx, view); err != nil {
				return err
			}
		}
		if len(p.Stages) > 1 && !checked {
			if err := a.check(ctx, view, p, job.Set); err != nil {
				return err
			}
			checked = true
		}
		if going := job.going(view, p); len(going) > 0 {
			return &Waiting{Gone: going, Written: written, Stages: written + len(p.Stages)}
		}
		if after := job.sick(p.Stages[0].After); len(after) > 0 {
			return &Waiting{After: after, Written: written, Stages: written + len(p.Stages)}
		}
		again := false
		if err = a.stage(ctx, view, &job, p, written); errors.Is(err, errReplace) {
			again = true
			err = a.replace(ctx, view, &job, p, written)
		}
		switch {
		case txn.IsConflict(err) && rounds < txn.Rounds:
			rounds++
		case err != nil:
			return err
		case again:
			rounds = 1
			written++
		case len(p.Stages) == 1:
			return nil
		default:
			rounds = 1
			written++
			job.advance(p)
		}
	}
}

// sick are those objects that are not healthy.
func (j *Job) sick(after []txn.Ref) []txn.Ref {
	return slices.DeleteFunc(slices.Clone(after), func(ref txn.Ref) bool { return j.Waits.Healthy(ref) })
}

// advance makes the job what is left of it after the plan's first stage.
func (j *Job) advance(p *plan.Plan) {
	j.Inventory = p.Stages[0].Inventory
	j.All = false
	j.Dirty = map[txn.Ref]bool{}
	for _, s := range p.Stages[1:] {
		for _, c := range s.Changes {
			j.Dirty[c.Ref] = true
		}
	}
	// What the first stage was allowed to do was asked about the whole.
	j.Consents = append(j.Consents[:len(j.Consents):len(j.Consents)], "all")
}

// check plans all stages at once, so that a bad object in the last one stops
// the first, and custom resources find their definitions.
func (a *Applier) check(ctx context.Context, view txn.View, p *plan.Plan, set *render.Set) error {
	var all []txn.Change
	for _, s := range p.Stages {
		all = append(all, s.Changes...)
	}
	result, err := a.Txn.Plan(ctx, view, a.Identity, txn.DryRun(all))
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	return a.judge(ctx, view, result.Outcomes, p, set)
}

// errReplace says that objects have to go before a stage can be written.
var errReplace = errors.New("objects are to be replaced")

func (a *Applier) stage(ctx context.Context, view txn.View, job *Job, p *plan.Plan, written int) error {
	stage := p.Stages[0]
	own := len(stage.Changes)
	notes := append(stage.Inventory.Notes(job.Source, job.Inventory), job.released(p, &stage)...)
	if own == 0 && len(notes) == 0 {
		job.done(p, nil, &txn.Committed{Revision: view.Revision()})
		return nil
	}
	changes := stage.Changes
	if job.Along != nil {
		changes = append(changes[:own:own], job.Along(view, p, written+1, written+len(p.Stages))...)
	}
	result, err := a.Txn.Plan(ctx, view, a.Identity, changes)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if err := a.judge(ctx, view, result.Outcomes[:own], p, job.Set); err != nil {
		return err
	}
	if replaces(result.Outcomes[:own]) {
		return errReplace
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("record the release: %w", err)
	}
	if err := failpoint.Hit(ctx, "gitsource.plan.after"); err != nil {
		return err
	}
	done := &txn.Committed{Revision: view.Revision(), Objects: make([]txn.Object, len(changes))}
	for i, o := range result.Outcomes {
		done.Objects[i] = o.After // they stand when nothing has to be written
	}
	if len(notes) > 0 || writes(result.Outcomes) {
		if err := failpoint.Hit(ctx, "gitsource.commit.before"); err != nil {
			return err
		}
		if job.Writing != nil {
			job.Writing(&stage)
		}
		if done, err = a.Txn.Commit(ctx, result, txn.CommitOptions{Epoch: a.Epoch, Notes: notes}); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		if err := failpoint.Hit(ctx, "gitsource.commit.after"); err != nil {
			return err
		}
	}
	done.Objects = done.Objects[:own]
	job.done(p, result.Outcomes[:own], done)
	return nil
}

// released are the notes of those that a stage takes objects over from.
func (j *Job) released(p *plan.Plan, stage *plan.Stage) []txn.Note {
	taken := map[string][]txn.Ref{}
	for _, c := range stage.Changes {
		if from := p.Taken[c.Ref]; from != "" && !slices.Contains(taken[from], c.Ref) {
			taken[from] = append(taken[from], c.Ref)
		}
	}
	var notes []txn.Note
	for _, from := range slices.Sorted(maps.Keys(taken)) {
		notes = append(notes, j.Release(from, taken[from])...)
	}
	return notes
}

func (j *Job) done(p *plan.Plan, outcomes []txn.Outcome, c *txn.Committed) {
	if j.Done != nil {
		j.Done(Stage{Plan: p, Inventory: p.Stages[0].Inventory, Revision: c.Revision, Last: len(p.Stages) == 1, Outcomes: outcomes, Objects: c.Objects})
	}
}

func writes(outcomes []txn.Outcome) bool {
	for _, o := range outcomes {
		if o.Operation != txn.Unchanged {
			return true
		}
	}
	return false
}

func replaces(outcomes []txn.Outcome) bool {
	return slices.ContainsFunc(outcomes, func(o txn.Outcome) bool { return o.Operation == plan.Replaced })
}

// refusal gathers what the API server says against single objects; want are
// those that only want consent to be replaced.
func refusal(outcomes []txn.Outcome, p *plan.Plan, set *render.Set, want map[txn.Ref]bool) error {
	r := &Refused{Held: len(want) > 0}
	for _, o := range outcomes {
		if o.Err == nil {
			continue
		}
		if txn.IsConflict(o.Err) {
			return o.Err
		}
		problems := Problems(o, p.Desired[o.Change.Ref], set)
		if want[o.Change.Ref] {
			problems = Wanting(problems)
		} else {
			r.Held = false
		}
		r.Problems = append(r.Problems, problems...)
		r.Again = r.Again || passing(o.Err)
	}
	if len(r.Problems) == 0 {
		return nil
	}
	return r
}

// passing tells whether an error may go away without a new commit.
func passing(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err)
}

// AsWaiting gives the wait in an error, or nil.
func AsWaiting(err error) *Waiting {
	var w *Waiting
	if errors.As(err, &w) {
		return w
	}
	return nil
}

// AsRefused gives the refusal in an error, or nil.
func AsRefused(err error) *Refused {
	var r *Refused
	if errors.As(err, &r) {
		return r
	}
	return nil
}
