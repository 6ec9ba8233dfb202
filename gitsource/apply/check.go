package apply

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// Check plans a job with its hooks and has the API server look at all of it.
// Nothing is written. It returns *Refused when the commit is to blame.
func (a *Applier) Check(ctx context.Context, job Job) (*plan.Plan, error) {
	view, err := a.Txn.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	in := job.Input
	in.View = view
	p := plan.Make(in)
	if job.Planned != nil {
		job.Planned(p)
	}
	if len(p.Problems) > 0 {
		return nil, &Refused{Problems: p.Problems, Held: p.Held, Again: p.Passing}
	}
	changes, own := WithHooks(view, job.Source, p)
	result, err := a.Txn.Plan(ctx, view, a.Identity, txn.DryRun(changes))
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	for i := range result.Outcomes {
		result.Outcomes[i].Change.Ref = own[i] // and not the name of a trial
	}
	return p, a.judge(ctx, view, result.Outcomes, p, job.Set)
}

// WithHooks are the changes of a plan for a dry run, with the creation of its
// hooks where they are run, and the references that they are meant for.
func WithHooks(view txn.View, source string, p *plan.Plan) (changes []txn.Change, refs []txn.Ref) {
	add := func(c txn.Change, ref txn.Ref) { changes, refs = append(changes, c), append(refs, ref) }
	hooks := func(want bool) {
		for i := range p.Hooks {
			if h := &p.Hooks[i]; h.First() == want {
				add(trial(view, source, h), h.Ref)
			}
		}
	}
	hooks(true) // with nothing of the commit there yet
	for _, s := range p.Stages {
		for _, c := range s.Changes {
			add(c, c.Ref)
		}
	}
	hooks(false)
	return changes, refs
}

// RunHook is the change that makes a hook's object for a run.
func RunHook(source, run string, h *plan.Hook) txn.Change {
	return txn.Change{
		Verb: txn.Apply, Ref: h.Ref, Version: schema.FromAPIVersionAndKind(h.Entry.APIVersion, "").Version, Object: h.Body(source, run),
		FieldManager: plan.Manager(source), Force: true, Origin: h.Object.Origin(), As: h.As,
	}
}

// trial is RunHook for a dry run: what an earlier run has left will be gone by
// then, so that another name is tried.
func trial(view txn.View, source string, h *plan.Hook) txn.Change {
	c := RunHook(source, "trial", h)
	if _, ok := view.Get(h.Ref); ok && !h.Kept() {
		c.Ref.Name = c.Ref.Name[:min(len(c.Ref.Name), 50)] + "-trial"
		c.Object.SetName(c.Ref.Name)
	}
	return c
}
