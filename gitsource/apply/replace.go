package apply

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
)

// Replacements looks at what the API server refuses of a plan: a change that
// it would accept of a new object needs a replacement. Where that is consented
// to, the outcome becomes Replaced, with the new object; elsewhere its error
// stays, and the object is among those that want consent. Nothing is written.
func (a *Applier) Replacements(ctx context.Context, view txn.View, p *plan.Plan, outcomes []txn.Outcome) (want map[txn.Ref]bool, err error) {
	if p.InPlace {
		return nil, nil
	}
	var changes []txn.Change
	var at []int
	for i, o := range outcomes {
		if o.Err == nil || o.Before == nil || o.Change.Verb != txn.Apply || !apierrors.IsInvalid(o.Err) || p.Desired[o.Change.Ref] == nil {
			continue
		}
		// What has finalizers does not go within a plan: another name tells.
		elsewhere := o.Change
		elsewhere.Ref.Name = elsewhere.Ref.Name[:min(len(elsewhere.Ref.Name), 50)] + "-trial"
		elsewhere.Object = elsewhere.Object.DeepCopyObject().(txn.Object)
		elsewhere.Object.SetName(elsewhere.Ref.Name)
		changes = append(changes, elsewhere, txn.Change{Verb: txn.Delete, Ref: o.Change.Ref, As: o.Change.As, FieldManager: o.Change.FieldManager}, o.Change)
		at = append(at, i)
	}
	if len(at) == 0 {
		return nil, nil
	}
	result, err := a.Txn.Plan(ctx, view, a.Identity, txn.DryRun(changes))
	if err != nil {
		return nil, fmt.Errorf("plan replacements: %w", err)
	}
	want = map[txn.Ref]bool{}
	for n, i := range at {
		o := &outcomes[i]
		created, deleted, inPlace := result.Outcomes[3*n], result.Outcomes[3*n+1], result.Outcomes[3*n+2]
		if inPlace.Err == nil && deleted.Operation == txn.Deleted {
			created = inPlace
		}
		switch {
		case created.Err != nil || deleted.Err != nil:
		case p.MayReplace(o.Change.Ref, o.Before):
			o.Err, o.Operation, o.After, o.Warnings = nil, plan.Replaced, created.After, created.Warnings
			p.Replace(o.Change.Ref)
		default:
			want[o.Change.Ref] = true
		}
	}
	return want, nil
}

// Wanting says of a refused change what consents to its replacement.
func Wanting(problems []v1alpha1.Problem) []v1alpha1.Problem {
	for i := range problems {
		problems[i].Message += fmt.Sprintf("; this cannot be changed, only replaced: the object would be deleted and created anew. Consent with the annotation %s: %s on it",
			v1alpha1.AnnotationReplace, v1alpha1.ReplaceAllowed)
	}
	return problems
}

// judge gathers what the API server says against single objects, once what may
// be replaced is no longer among it.
func (a *Applier) judge(ctx context.Context, view txn.View, outcomes []txn.Outcome, p *plan.Plan, set *render.Set) error {
	want, err := a.Replacements(ctx, view, p, outcomes)
	if err != nil {
		return err
	}
	return refusal(outcomes, p, set, want)
}

// replace deletes what is to be created anew. The rest of the commit follows
// when it is gone.
func (a *Applier) replace(ctx context.Context, view txn.View, job *Job, p *plan.Plan, written int) error {
	in := job.Input
	in.View = view
	rest := p.Stages
	p.Stages = append([]plan.Stage{p.Leaving(&in)}, rest...)
	if err := a.stage(ctx, view, job, p, written); err != nil {
		return err
	}
	job.Inventory, job.All, job.Dirty = p.Stages[0].Inventory, false, map[txn.Ref]bool{}
	for _, s := range rest {
		for _, c := range s.Changes {
			job.Dirty[c.Ref] = true
		}
	}
	return nil
}

// going are the objects that are waited for to be gone.
func (j *Job) going(view txn.View, p *plan.Plan) []txn.Ref {
	var out []txn.Ref
	for ref, e := range j.Inventory.Entries {
		if !e.Going() || p.Desired[ref] == nil {
			continue
		}
		if o, ok := view.Get(ref); ok && o.GetDeletionTimestamp() != nil {
			out = append(out, ref)
		}
	}
	return out
}
