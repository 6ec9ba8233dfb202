package gitsource

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/gitsource/report"
)

// previewPause is the least time between two looks at all previews because of
// what happens in the cluster; a reference that moves is looked at once.
const previewPause = 10 * time.Second

// previews keep a Plan for each reference that is to be planned.
type previews struct {
	planned map[string]planned // by reference
	stale   bool               // the cluster has changed since
	at      time.Time          // of the last look
}

// planned is what a reference's Plan was made of.
type planned struct {
	tip        repo.ID
	base       string
	generation int64
	status     v1alpha1.PlanStatus
	grounds    *grounds // nil for what needs no approval
}

// due is when the previews are to be looked at because of the cluster; zero
// for never.
func (p *previews) due() time.Time {
	if !p.stale || len(p.planned) == 0 {
		return time.Time{}
	}
	return p.at.Add(previewPause)
}

// note takes in what has happened in the cluster, and tells whether plans may
// have changed by it. Status is no part of a plan.
func (p *previews) note(writes []txn.Write, all bool) bool {
	news := all || slices.ContainsFunc(writes, func(w txn.Write) bool { return w.Subresource != "status" })
	p.stale = p.stale || news
	return news
}

func (p *previews) isDue(now time.Time) bool {
	due := p.due()
	return !due.IsZero() && !now.Before(due)
}

// lookAtPreviews plans the references that have moved, and all of them when
// the cluster has changed.
func (s *source) lookAtPreviews(ctx context.Context) error {
	if len(s.object.Spec.Previews.Refs) == 0 && s.previews.planned == nil || s.follower.repo == nil {
		return nil
	}
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	tips, err := s.previewed()
	if err != nil {
		return err
	}
	now := s.now()
	stale := s.previews.stale && !now.Before(s.previews.at.Add(previewPause))
	if s.previews.planned == nil {
		s.previews.planned = map[string]planned{}
	}
	if err := s.dropPreviews(ctx, view, tips); err != nil {
		return err
	}
	for ref, tip := range tips {
		was := s.previews.planned[ref]
		if !stale && was.tip == tip && was.base == s.status.AppliedCommit && was.generation == s.object.Generation {
			continue
		}
		status, grounds, err := s.keepPlan(ctx, ref)
		if err != nil {
			return err
		}
		s.previews.planned[ref] = planned{tip: tip, base: s.status.AppliedCommit, generation: s.object.Generation, status: *status, grounds: grounds}
	}
	if stale || s.previews.at.IsZero() {
		s.previews.stale, s.previews.at = false, now
	}
	return nil
}

// previewed are the references to be planned, with their commits.
func (s *source) previewed() (map[string]repo.ID, error) {
	if len(s.object.Spec.Previews.Refs) == 0 {
		return nil, nil
	}
	type head struct {
		ref  string
		tip  repo.ID
		time time.Time
	}
	var heads []head
	refs, err := s.matching(s.object.Spec.Previews.Refs)
	if err != nil {
		return nil, err
	}
	for ref, tip := range refs {
		c, err := s.follower.repo.Commit(tip)
		if err != nil {
			continue // a tag of something else, or damage that its own Plan would show
		}
		heads = append(heads, head{ref, tip, c.Time})
	}
	slices.SortFunc(heads, func(a, b head) int { return cmp.Or(b.time.Compare(a.time), cmp.Compare(a.ref, b.ref)) })
	most := v1alpha1.DefaultMaxPreviews
	if m := s.object.Spec.Previews.Max; m != nil {
		most = int(*m)
	}
	out := map[string]repo.ID{}
	for _, h := range heads[:min(len(heads), most)] {
		out[h.ref] = h.tip
	}
	return out, nil
}

// dropPreviews deletes the Plans of references that are no longer planned.
func (s *source) dropPreviews(ctx context.Context, view txn.View, tips map[string]repo.ID) error {
	var drops []txn.Change
	for o := range view.Each(plans, "") {
		p, ok := o.(*v1alpha1.Plan)
		if !ok || p.Labels[v1alpha1.LabelPreviewOf] != s.name {
			continue
		}
		if _, wanted := tips[p.Spec.Ref.Name]; !wanted {
			drops = append(drops, txn.Change{Verb: txn.Delete, Ref: txn.Ref{Resource: plans, Name: p.Name}})
			delete(s.previews.planned, p.Spec.Ref.Name)
		}
	}
	if len(drops) == 0 {
		return nil
	}
	_, _, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, txn.CommitOptions{Epoch: s.engine.applier.Epoch},
		func(txn.View) ([]txn.Change, error) { return drops, nil })
	if err != nil {
		return fmt.Errorf("drop previews: %w", err)
	}
	return nil
}

// keepPlan brings the Plan of a reference up to date.
func (s *source) keepPlan(ctx context.Context, ref string) (*v1alpha1.PlanStatus, *grounds, error) {
	name := previewName(s.name, ref)
	var status *v1alpha1.PlanStatus
	var grounds *grounds
	_, _, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, txn.CommitOptions{Epoch: s.engine.applier.Epoch}, func(view txn.View) ([]txn.Change, error) {
		var err error
		if status, grounds, err = s.preview(ctx, view, v1alpha1.GitReference{Name: ref}, false); err != nil {
			return nil, err
		}
		at := txn.Ref{Resource: plans, Name: name}
		o, ok := view.Get(at)
		p := &v1alpha1.Plan{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelPreviewOf: s.name}},
			Spec:       v1alpha1.PlanSpec{Source: s.name, Ref: v1alpha1.GitReference{Name: ref}},
		}
		var changes []txn.Change
		if ok {
			p = o.(*v1alpha1.Plan).DeepCopy()
			if samePlan(&p.Status, status) {
				return nil, nil
			}
		}
		p.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Plan"}
		if !ok {
			changes = append(changes, s.write(txn.Create, at, "", p.DeepCopy()))
		}
		p.Status = *s.withCondition(status)
		return append(changes, s.write(txn.Update, at, "status", p)), nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("plan %s: %w", ref, err)
	}
	return status, grounds, nil
}

// samePlan tells whether two statuses say the same about the same commit.
func samePlan(a, b *v1alpha1.PlanStatus) bool {
	strip := func(p *v1alpha1.PlanStatus) *v1alpha1.PlanStatus {
		p = p.DeepCopy()
		p.Revision, p.Conditions = "", nil
		return p
	}
	return equality.Semantic.DeepEqual(strip(a), strip(b))
}

// previewName is the name of the Plan of a reference: readable, and unlike
// that of any other one.
func previewName(source, ref string) string {
	sum := sha256.Sum256([]byte(ref))
	slug := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(strings.TrimPrefix(ref, "refs/"))), "-")
	return source + "-" + strings.Trim(slug[:min(len(slug), 40)], "-") + "-" + hex.EncodeToString(sum[:4])
}

// planReports are the previews as the report shows them.
func (s *source) planReports() []report.Plan {
	var out []report.Plan
	for ref, p := range s.previews.planned {
		st := p.status
		out = append(out, report.Plan{
			Ref: ref, Commit: s.commitLine(st.Commit), Base: st.Base, Digest: st.Digest, Summary: st.Summary.String(), Hooks: st.Hooks,
			Impact: st.Impact, Approval: st.Approval, Sealed: st.Sealed, Environment: s.environmentLine(ref),
			Outcomes: st.Outcomes, Problems: st.Problems,
		})
	}
	slices.SortFunc(out, func(a, b report.Plan) int { return cmp.Compare(a.Ref, b.Ref) })
	return out
}
