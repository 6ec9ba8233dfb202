package gitsource

import (
	"context"
	"fmt"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// Planner judges changes; txn.Interface is one.
type Planner interface {
	Plan(ctx context.Context, view txn.View, identity txn.Identity, changes []txn.Change) (*txn.Result, error)
}

// Vet renders a commit and has it judged as if the cluster were empty, with the
// code that plans and applies. The set is nil when the commit does not render.
func Vet(ctx context.Context, cfg render.Config, spec *v1alpha1.GitSourceSpec, commit repo.ID, api Planner, mapper plan.Mapper) (*render.Set, []v1alpha1.Problem, error) {
	spec = spec.DeepCopy()
	spec.ServiceAccountName = "" // what rights there are, only a cluster can say
	for i := range spec.Tenants {
		spec.Tenants[i].ServiceAccountName = ""
	}
	Tenants(&cfg, spec)
	set, problems, err := render.New(cfg).Render(ctx, commit)
	if err != nil || len(problems) > 0 {
		return nil, problems, err
	}
	p := plan.Make(plan.Input{Source: "vet", Spec: spec, Set: set, Inventory: plan.NewInventory(), View: txn.Empty{}, Mapper: mapper, All: true})
	if len(p.Problems) > 0 {
		return set, p.Problems, nil
	}
	var all []txn.Change // later stages stand on earlier ones
	for _, stage := range p.Stages {
		all = append(all, stage.Changes...)
	}
	result, err := api.Plan(ctx, txn.Empty{}, txn.Identity{Name: "vet"}, txn.DryRun(all))
	if err != nil {
		return set, nil, fmt.Errorf("plan: %w", err)
	}
	for _, o := range result.Outcomes {
		if o.Err != nil {
			problems = append(problems, apply.Problems(o, p.Desired[o.Change.Ref], set)...)
		}
	}
	return set, problems, nil
}
