package gitsource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
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
		if p.Labels[v1alpha1.LabelPreviewOf] == s.name {
			return nil, nil // which is kept elsewhere
		}
		again := func() { s.tell(func(pend *pending) { pend.plans = append(pend.plans, name) }) }
		if !s.follower.heldRef(p.Spec.Ref, again) || p.Spec.Base != nil && !s.follower.heldRef(*p.Spec.Base, again) {
			return nil, nil // answered when it is known
		}
		var status *v1alpha1.PlanStatus
		var err error
		if p.Spec.Base != nil {
			status, err = s.compare(ctx, view, *p.Spec.Base, p.Spec.Ref)
		} else {
			status, _, err = s.preview(ctx, view, p.Spec.Ref, true)
		}
		if err != nil {
			return nil, err
		}
		p.Status = *s.withCondition(status)
		return []txn.Change{s.write(txn.Update, ref, "status", p)}, nil
	})
	if err != nil {
		return fmt.Errorf("answer plan %s: %w", name, err)
	}
	return nil
}

// unanswered are the Plans that wait for an answer, beside those that are known.
func (s *source) unanswered(ctx context.Context, known []string) ([]string, error) {
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	var out []string
	for o := range view.Each(plans, "") {
		p, ok := o.(*v1alpha1.Plan)
		if ok && p.Spec.Source == s.name && p.Labels[v1alpha1.LabelPreviewOf] == "" && len(p.Status.Conditions) == 0 && !slices.Contains(known, p.Name) {
			out = append(out, p.Name)
		}
	}
	return out, nil
}

// withCondition says in a condition whether the plan could be applied.
func (s *source) withCondition(status *v1alpha1.PlanStatus) *v1alpha1.PlanStatus {
	status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Planned", LastTransitionTime: *s.stamp()}}
	if len(status.Problems) > 0 {
		status.Conditions[0].Status, status.Conditions[0].Reason, status.Conditions[0].Message = metav1.ConditionFalse, "Refused", status.Problems[0].String()
	}
	return status
}

// preview works out what a ref would change if the source followed it. With
// all, every object of it is compared with the live one, otherwise those only
// that are written down in another way than what is applied. Nothing is
// written.
func (s *source) preview(ctx context.Context, view txn.View, ref v1alpha1.GitReference, all bool) (*v1alpha1.PlanStatus, *grounds, error) {
	out := &v1alpha1.PlanStatus{Base: s.status.AppliedCommit, Revision: strconv.FormatInt(view.Revision(), 10)}
	fail := func(err error) (*v1alpha1.PlanStatus, *grounds, error) {
		out.Problems = []v1alpha1.Problem{{Message: err.Error()}}
		return out, nil, nil
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
	if out.Frozen, out.Problems, err = s.wouldWait(ctx, commit); err != nil || len(out.Problems) > 0 {
		return out, nil, err
	}
	// A renderer of its own: the source's remembers the applied commit.
	anybodys, err := s.anybodys(ctx, name, id)
	if err != nil {
		return fail(err)
	}
	set, _, problems, err := s.rendered(ctx, s.planner(anybodys, view), id)
	if err != nil {
		return nil, nil, err
	}
	if len(problems) > 0 {
		out.Problems = problems[:min(len(problems), maxProblems)]
		return out, nil, nil
	}
	p, err := s.planSet(ctx, view, candidate{commit: commit, set: set, ref: name, all: all}, out)
	if err != nil || p == nil || out.Approval == "" {
		return out, nil, err
	}
	return out, &grounds{Commit: out.Commit, Digest: out.Digest, Objects: trim(p.Grounds(s.engine.cfg.Key, view), set.Redact)}, nil
}

// candidate is a rendered commit that is planned as if the source followed it.
type candidate struct {
	commit *repo.Commit
	set    *render.Set
	ref    string
	all    bool
}

// planSet plans a rendered commit and fills in the status of a Plan; it gives
// the plan, or nil when the status has problems.
func (s *source) planSet(ctx context.Context, view txn.View, c candidate, out *v1alpha1.PlanStatus) (*plan.Plan, error) {
	in := plan.Input{
		Source: s.name, Spec: &s.object.Spec, Ref: c.ref, Set: c.set, Inventory: s.inventory, View: view, Mapper: s.engine.cfg.Mapper,
		Consents: c.commit.Trailers(TrailerAllowDelete), Owner: s.holder, All: c.all,
		Yields: s.yields, Wanted: s.wantedSince(0),
		Leave: s.leaving(c.commit.ID.String() != s.status.AppliedCommit), Keep: s.sealedFiles(c.set, out),
		Removed: s.leavingHooks(s.inventory.Head.Commit),
	}
	p := plan.Make(in)
	if len(p.Problems) > 0 {
		out.Problems = p.Problems[:min(len(p.Problems), maxProblems)]
		return nil, nil
	}
	changes, refs := apply.WithHooks(view, s.name, p) // later stages stand on earlier ones
	result, err := s.engine.cfg.Txn.Plan(ctx, view, s.engine.cfg.Identity, txn.DryRun(changes))
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	for i := range result.Outcomes {
		result.Outcomes[i].Change.Ref = refs[i]
	}
	want, err := s.engine.applier.Replacements(ctx, view, p, result.Outcomes)
	if err != nil {
		return nil, err
	}
	out.Digest = p.Digest(s.engine.cfg.Key, view)
	if c.all { // what is consented to is what the commit does, whatever else was compared
		in.All = false
		out.Digest = plan.Make(in).Digest(s.engine.cfg.Key, view)
	}
	s.judge(out, p, c.set, result, want)
	s.moves(out, p)
	out.Summary.Unchanged += p.Counts.Unchanged
	if out.Commit != s.status.AppliedCommit {
		out.Hooks = s.plannedHooks(p)
	}
	out.Impact = plan.Impact(view, result.Outcomes)
	if len(out.Problems) > 0 {
		return nil, nil
	}
	if out.AsksApproval = wanting(&s.object.Spec.Approval, p, out, result.Outcomes); out.AsksApproval != "" {
		given, err := s.consents(ctx, view, out.Digest, c.commit.ID)
		if err != nil {
			return nil, err
		}
		given.why = out.AsksApproval
		out.Approval = given.String()
	}
	return p, nil
}

// plannedHooks are those that a plan's commit would run.
func (s *source) plannedHooks(p *plan.Plan) []v1alpha1.PlannedHook {
	var out []v1alpha1.PlannedHook
	for _, r := range plan.Runs(p.Hooks, s.occasion()) {
		out = append(out, v1alpha1.PlannedHook{Object: r.Object, Stage: r.Stage, Weight: r.Weight, Origin: r.Origin})
	}
	return out
}

// judge adds the API server's outcomes to a preview; want are the objects that
// want consent to be replaced.
func (s *source) judge(out *v1alpha1.PlanStatus, p *plan.Plan, set *render.Set, result *txn.Result, want map[txn.Ref]bool) {
	hooks := map[txn.Ref]bool{}
	for _, h := range p.Hooks {
		hooks[h.Ref] = true
	}
	out.Outcomes = append(out.Outcomes, released(p)...)
	last := map[txn.Ref]txn.Object{}
	for _, o := range result.Outcomes {
		last[o.Change.Ref] = o.After
	}
	for _, o := range result.Outcomes {
		if o.Change.FieldManager != plan.Manager(s.name) && o.Err == nil {
			continue // the one it is taken from has no fields of it any more
		}
		if hooks[o.Change.Ref] && o.Err == nil {
			continue // is run, and no part of what the source has
		}
		one := v1alpha1.ObjectOutcome{Object: o.Change.Ref.String(), Operation: string(o.Operation), Origin: o.Change.Origin}
		e := p.Next.Entries[o.Change.Ref]
		one.MovedFrom = movedFrom(s.inventory.Entries[o.Change.Ref].Origin, e.Origin)
		switch {
		case o.Err != nil:
			one.Error = o.Err.Error()
			problems := apply.Problems(o, p.Desired[o.Change.Ref], set)
			if want[o.Change.Ref] {
				problems = apply.Wanting(problems)
			}
			out.Problems = append(out.Problems, problems...)
		case o.Operation == txn.Unchanged:
			out.Summary.Unchanged++
			continue
		case o.Operation == txn.Created:
			out.Summary.Created++
		case o.Operation == txn.Updated, o.Operation == plan.Replaced:
			if o.Operation == txn.Updated {
				out.Summary.Changed++
			} else {
				out.Summary.Replaced++
			}
			one.Fields = drift.Diff(&e, o.Before, last[o.Change.Ref])
			if o.Operation == plan.Replaced { // whose own life is a new one
				one.Fields = slices.DeleteFunc(one.Fields, func(f v1alpha1.FieldChange) bool {
					return strings.HasPrefix(f.Path, "status") || slices.Contains([]string{"metadata.uid", "metadata.generation", "metadata.creationTimestamp"}, f.Path)
				})
			}
			for i, f := range one.Fields { // whatever kind an encrypted value has ended up in
				one.Fields[i].Before, one.Fields[i].After = set.Redact(f.Before), set.Redact(f.After)
			}
		default:
			out.Summary.Deleted++
		}
		if len(out.Outcomes) < maxOutcomes {
			out.Outcomes = append(out.Outcomes, one)
		}
	}
}

// moves adds the objects that are only written down in another place.
func (s *source) moves(out *v1alpha1.PlanStatus, p *plan.Plan) {
	told := map[string]bool{}
	for _, o := range out.Outcomes {
		told[o.Object] = true
	}
	for _, ref := range slices.SortedFunc(maps.Keys(p.Next.Entries), txn.Ref.Compare) {
		e := p.Next.Entries[ref]
		from := movedFrom(s.inventory.Entries[ref].Origin, e.Origin)
		if from == "" {
			continue
		}
		out.Summary.Moved++
		if !told[ref.String()] && len(out.Outcomes) < maxOutcomes {
			out.Outcomes = append(out.Outcomes, v1alpha1.ObjectOutcome{Object: ref.String(), Operation: string(txn.Unchanged), Origin: e.Origin, MovedFrom: from})
		}
	}
}

// movedFrom is the file that an object was written down in before, when it is
// another one now.
func movedFrom(before, after string) string {
	old, _ := v1alpha1.ParseOrigin(before)
	now, _ := v1alpha1.ParseOrigin(after)
	if old == "" || now == "" || old == now {
		return ""
	}
	return old
}
