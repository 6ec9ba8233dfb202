package gitsource

import (
	"context"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
)

// answer fills in the status of a Plan object.
func (s *source) answer(ctx context.Context, name string) error {
	_, _, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, txn.CommitOptions{Epoch: s.engine.applier.Epoch}, func(view txn.View) ([]txn.Change, error) {
		ref := txn.Ref{Resource: plans, Name: name}
		o, ok := view.Get(ref)
		if !ok {
			return nil, nil
		}
		p := o.(*v1alpha1.Plan).DeepCopy()
		p.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Plan"}
		status, err := s.preview(ctx, view, p.Spec.Ref)
		if err != nil {
			return nil, err
		}
		status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Planned", LastTransitionTime: *s.stamp()}}
		if len(status.Problems) > 0 {
			status.Conditions[0].Status, status.Conditions[0].Reason, status.Conditions[0].Message = metav1.ConditionFalse, "Refused", status.Problems[0].String()
		}
		p.Status = *status
		return []txn.Change{s.write(txn.Update, ref, "status", p)}, nil
	})
	if err != nil {
		return fmt.Errorf("answer plan %s: %w", name, err)
	}
	return nil
}

// preview works out what a ref would change if the source followed it: every
// object of it is compared with the live one. Nothing is written.
func (s *source) preview(ctx context.Context, view txn.View, ref v1alpha1.GitReference) (*v1alpha1.PlanStatus, error) {
	out := &v1alpha1.PlanStatus{Base: s.status.AppliedCommit, Revision: strconv.FormatInt(view.Revision(), 10)}
	fail := func(err error) (*v1alpha1.PlanStatus, error) {
		out.Problems = []v1alpha1.Problem{{Message: err.Error()}}
		return out, nil
	}
	if s.follower.err != nil {
		return fail(s.follower.err)
	}
	name, id, err := s.follower.repo.Resolve(ref)
	if err != nil {
		return fail(err)
	}
	out.Commit = id.String()
	commit, err := s.follower.repo.Commit(id)
	if err != nil {
		return fail(err)
	}
	// A renderer of its own: the source's remembers the applied commit.
	renderer := s.renderer(s.follower.repo, func() (txn.View, error) { return view, nil })
	set, problems, err := renderer.Render(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		out.Problems = problems[:min(len(problems), maxProblems)]
		return out, nil
	}
	p := plan.Make(plan.Input{
		Source: s.name, Spec: &s.object.Spec, Ref: name, Set: set, Inventory: s.inventory, View: view, Mapper: s.engine.cfg.Mapper,
		Consents: commit.Trailers(TrailerAllowDelete), Owner: s.engine.owners.source, All: true,
		Leave: s.leaving(out.Commit != s.status.AppliedCommit),
	})
	if len(p.Problems) > 0 {
		out.Problems = p.Problems[:min(len(p.Problems), maxProblems)]
		return out, nil
	}
	out.Digest = p.Digest(s.engine.cfg.Key, view)
	var all []txn.Change // later stages stand on earlier ones
	for _, stage := range p.Stages {
		all = append(all, stage.Changes...)
	}
	result, err := s.engine.cfg.Txn.Plan(ctx, view, s.engine.cfg.Identity, txn.DryRun(all))
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	s.judge(out, p, set, result)
	return out, nil
}

// judge adds the API server's outcomes to a preview.
func (s *source) judge(out *v1alpha1.PlanStatus, p *plan.Plan, set *render.Set, result *txn.Result) {
	for _, o := range result.Outcomes {
		one := v1alpha1.ObjectOutcome{Object: o.Change.Ref.String(), Operation: string(o.Operation), Origin: o.Change.Origin}
		switch {
		case o.Err != nil:
			one.Error = o.Err.Error()
			out.Problems = append(out.Problems, apply.Problems(o, p.Desired[o.Change.Ref], set)...)
		case o.Operation == txn.Unchanged:
			out.Summary.Unchanged++
			continue
		case o.Operation == txn.Created:
			out.Summary.Created++
		case o.Operation == txn.Updated:
			out.Summary.Changed++
			e := p.Next.Entries[o.Change.Ref]
			one.Fields = drift.Diff(&e, o.Before, o.After)
		default:
			out.Summary.Deleted++
		}
		if len(out.Outcomes) < maxOutcomes {
			out.Outcomes = append(out.Outcomes, one)
		}
	}
}
