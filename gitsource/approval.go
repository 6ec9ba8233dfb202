package gitsource

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/repo"
)

const (
	// reasonApproval is why a commit waits that nobody has consented to.
	reasonApproval = "AwaitingApproval"
	// approvalNotes are what approvals were given on, by source and digest.
	approvalNotes = "approval/"
	// What is kept of an approval's grounds.
	maxGrounds      = 64
	maxGroundsBytes = 8 << 10
	maxTold         = 5
)

// approving is what a source knows of consents to plans.
//
//	planned ─► wanting ─► consent to the digest? ─► applied, and the consent used
//	                         └─ no: AwaitingApproval ─► a consent, or the cluster changes ─► planned
type approving struct {
	// awaited is what the commit that waits would change.
	awaited *grounds
	// kept are the grounds of approvals that were given and not used yet.
	kept map[string]*grounds
	// granted is the digest that the commit which is being applied was permitted
	// with.
	granted string
	stale   bool      // the cluster has changed since the plan
	at      time.Time // of the plan
	until   time.Time // when a consent that counts does so no more; zero: never
}

// grounds are what an approval was given on.
type grounds struct {
	Commit  string                 `json:"commit"`
	Digest  string                 `json:"digest"`
	Objects map[string]plan.Ground `json:"objects"`
}

// precious are resources that take more with them than their own objects.
var precious = []schema.GroupResource{
	{Resource: "persistentvolumeclaims"}, {Resource: "namespaces"}, definitions,
}

// wanting says why a plan has to be consented to; empty: it does not have to.
func wanting(spec *v1alpha1.ApprovalSpec, p *plan.Plan, out *v1alpha1.PlanStatus, outcomes []txn.Outcome) string {
	n := out.Summary
	switch spec.Required {
	case v1alpha1.ApprovalAlways:
		if n.Created+n.Changed+n.Replaced+n.Deleted == 0 && len(p.Hooks) == 0 {
			return "" // nothing happens in the cluster
		}
		return "every change is asked about"
	case v1alpha1.ApprovalDestructive:
		var why []string
		if gone := n.Replaced + n.Deleted; gone > spec.MaxDeletes {
			why = append(why, fmt.Sprintf("%d objects are deleted or replaced, more than %d", gone, spec.MaxDeletes))
		}
		for _, o := range outcomes {
			if slices.Contains(precious, o.Change.Ref.Resource) && o.Operation != txn.Created && o.Operation != txn.Unchanged && len(why) < maxTold {
				why = append(why, fmt.Sprintf("%s is %s", o.Change.Ref, o.Operation))
			}
		}
		return strings.Join(why, ", ")
	}
	return ""
}

func (s *source) approvals(view txn.View) []v1alpha1.Approval {
	o, _ := view.Get(txn.Ref{Resource: gitSources, Name: s.name})
	if g, ok := o.(*v1alpha1.GitSource); ok {
		return g.Status.Approvals
	}
	return nil
}

// unapproved says that a commit waits for consent.
type unapproved struct {
	awaits  v1alpha1.AwaitedApproval
	grounds *grounds
	changes []txn.Change
	until   time.Time // when a consent that counts does so no more; zero: never
}

func (u *unapproved) Error() string {
	out := fmt.Sprintf("waits for approval (%s): %s", u.awaits.Reason, u.awaits.Summary)
	var by []string
	for _, a := range u.awaits.Given {
		by = append(by, a.By)
	}
	switch {
	case len(by) > 0:
		out += fmt.Sprintf("; %d of %d have approved: %s", len(by), u.awaits.Count, strings.Join(by, ", "))
	case u.awaits.Count > 1:
		out += fmt.Sprintf("; %d have to approve", u.awaits.Count)
	}
	for _, void := range u.awaits.Void {
		out += "; " + void
	}
	if u.awaits.Outdated != "" {
		out += "; " + u.awaits.Outdated
	}
	return out
}

// asksConsent tells whether a commit may have to be consented to. What is
// applied or begun, and a way back, is not held up.
func (s *source) asksConsent(id repo.ID, a aim, current bool) bool {
	required := s.object.Spec.Approval.Required
	return required != "" && required != v1alpha1.ApprovalNever && !current && !a.back() && s.inventory.Head.Commit != id.String()
}

// permit holds a commit back whose plan on a View nobody has consented to. What
// is wrong with the plan is not told here.
func (s *source) permit(ctx context.Context, view txn.View, c candidate) error {
	out := &v1alpha1.PlanStatus{}
	p, err := s.planSet(ctx, view, c, out)
	if err != nil || p == nil {
		return err
	}
	s.approving.granted = out.Digest
	st := &s.release.Status
	st.Approval, st.Approvals = nil, nil
	if out.Approval == "" {
		return nil
	}
	given, err := s.consents(ctx, view, out.Digest, c.commit.ID)
	if err != nil {
		return err
	}
	if given.enough() {
		st.Approval = given.given[len(given.given)-1].DeepCopy()
		if given.wanted > 1 {
			st.Approvals = given.given
		}
		return nil
	}
	u := &unapproved{
		awaits: v1alpha1.AwaitedApproval{
			Commit: c.commit.ID.String(), Digest: out.Digest, Summary: out.Summary, Reason: out.AsksApproval,
			Given: given.given, Void: given.void, Authors: given.authors[:min(len(given.authors), maxAuthors)],
		},
		grounds: &grounds{Commit: c.commit.ID.String(), Digest: out.Digest, Objects: trim(p.Grounds(s.engine.cfg.Key, view), c.set.Redact)},
		until:   given.until,
	}
	if given.wanted > 1 {
		u.awaits.Count = given.wanted
	}
	for _, stage := range p.Stages {
		u.changes = append(u.changes, stage.Changes...)
	}
	u.awaits.Outdated = s.outdated(view, u.grounds, c.set.Redact)
	return u
}

// trim keeps the content of a few small objects only, and nothing that was
// encrypted.
func trim(all map[string]plan.Ground, redact func(string) string) map[string]plan.Ground {
	kept := 0
	for _, ref := range slices.Sorted(maps.Keys(all)) {
		g := all[ref]
		encoded, err := json.Marshal(g.Content)
		var content map[string]any
		if kept < maxGrounds && err == nil && len(encoded) <= maxGroundsBytes && json.Unmarshal([]byte(redact(string(encoded))), &content) == nil && content != nil {
			kept++
		}
		g.Content = content
		all[ref] = g
	}
	return all
}

// outdated says which consent does not count any more, and why: that to the
// same commit, or to the same objects, as they were.
func (s *source) outdated(view txn.View, now *grounds, redact func(string) string) string {
	for _, a := range slices.Backward(s.approvals(view)) {
		then := s.approving.kept[a.Digest]
		if _, counts := s.object.Spec.Approval.Counts(&a, s.now()); !counts || a.Digest == now.Digest {
			continue
		}
		if then == nil || then.Commit != now.Commit && !slices.Equal(slices.Sorted(maps.Keys(then.Objects)), slices.Sorted(maps.Keys(now.Objects))) {
			continue
		}
		changed := then.changed(now, redact)
		if len(changed) == 0 {
			changed = []string{"the commit asks for something else"}
		}
		return fmt.Sprintf("the approval of %.12s by %s does not count any more: %s", a.Digest, a.By, strings.Join(changed, ", "))
	}
	return ""
}

// changed are the fields of objects that are not as they were.
func (g *grounds) changed(now *grounds, redact func(string) string) []string {
	var out []string
	for _, ref := range slices.Sorted(maps.Keys(g.Objects)) {
		before, after := g.Objects[ref], now.Objects[ref]
		if before.Sum == after.Sum || len(out) == maxTold {
			continue
		}
		switch {
		case after.Sum == "":
			out = append(out, ref+" is gone, or not changed any more")
			continue
		case before.Sum == "":
			out = append(out, ref+" is there now")
			continue
		}
		fields := drift.Diff(&plan.Entry{}, &unstructured.Unstructured{Object: before.Content}, &unstructured.Unstructured{Object: after.Content})
		if len(fields) == 0 || before.Content == nil || after.Content == nil {
			out = append(out, ref+" has changed")
			continue
		}
		for _, f := range fields[:min(len(fields), maxTold)] {
			out = append(out, redact(fmt.Sprintf("%s %s was %s and is %s", ref, f.Path, cmp.Or(f.Before, "absent"), cmp.Or(f.After, "absent"))))
		}
	}
	return out
}

// awaitApproval notes that the commit waits for consent.
func (s *source) awaitApproval(u *unapproved) {
	s.approving.awaited, s.approving.stale, s.approving.at, s.approving.until = u.grounds, false, s.now(), u.until
	s.engine.owners.expect(s.name, u.changes) // what others do to them is looked at
	s.tried = trial{}
	message := u.Error() + fmt.Sprintf(". To consent: headway approve %s --digest %s", s.name, u.awaits.Digest)
	st := &s.release.Status
	st.Phase, st.Message, st.Problems, st.FinishedTime, st.Approval = v1alpha1.ReleasePlanned, message, nil, nil, nil
	s.status.Awaits, s.problems = &u.awaits, nil
	s.condition(v1alpha1.ConditionReady, false, reasonApproval, message)
	s.condition(v1alpha1.ConditionStalled, false, reasonApproval, "the commit is applied when somebody consents to it")
}

// due is when the waiting plan is to be made anew because of the cluster; zero
// for never.
func (a *approving) due() time.Time {
	switch again := a.at.Add(previewPause); {
	case a.awaited == nil:
		return time.Time{}
	case a.stale && (a.until.IsZero() || again.Before(a.until)):
		return again
	}
	return a.until
}

func (a *approving) isDue(now time.Time) bool {
	due := a.due()
	return !due.IsZero() && !now.Before(due)
}

// permitted tells that a commit is applied with somebody's consent.
func (s *source) permitted() {
	s.approving.awaited = nil
	if a := s.release.Status.Approval; a != nil && s.approving.granted == a.Digest {
		s.engine.cfg.Events(s.object, corev1.EventTypeNormal, "Approved", fmt.Sprintf("%.12s is applied as %s approved %s", s.release.Spec.Commit, approvers(&s.release.Status), a.Digest))
	}
}

// approvers are those whose consent a commit is applied with.
func approvers(st *v1alpha1.ReleaseStatus) string {
	if len(st.Approvals) < 2 {
		return st.Approval.By + " has"
	}
	names := make([]string, len(st.Approvals))
	for i, a := range st.Approvals {
		names[i] = a.By
	}
	return strings.Join(names, ", ") + " have"
}

// spent is the change that takes the approvals of the plan which a commit is
// applied with out of those that can be used; nil when there are none.
func (s *source) spent(view txn.View, o *v1alpha1.GitSource) *txn.Change {
	if s.release == nil || s.release.Status.Approval == nil || s.release.Status.Phase == v1alpha1.ReleasePlanned || s.status.Awaits != nil {
		return nil
	}
	used := s.release.Status.Approval
	after := slices.DeleteFunc(slices.Clone(s.approvals(view)), func(a v1alpha1.Approval) bool {
		return a.Digest == used.Digest
	})
	if len(after) == len(s.approvals(view)) {
		return nil
	}
	o = o.DeepCopy()
	o.Status.Approvals = after
	c := s.write(txn.Update, txn.Ref{Resource: gitSources, Name: s.name}, v1alpha1.SubresourceApproval, o)
	return &c
}

// loadGrounds reads what earlier approvals were given on.
func (s *source) loadGrounds(ctx context.Context) error {
	s.approving.kept = map[string]*grounds{}
	notes, err := s.engine.cfg.Txn.Notes(ctx, approvalNotes+s.name+"/")
	if err != nil {
		return fmt.Errorf("read grounds of approvals: %w", err)
	}
	for _, n := range notes {
		g := &grounds{}
		if err := json.Unmarshal(n.Value, g); err != nil {
			return fmt.Errorf("read note %s: %w", n.Key, err)
		}
		s.approving.kept[g.Digest] = g
	}
	return nil
}

// keepGrounds notes what new approvals were given on, so that it can be told
// why one does not count any more, and drops what is of none.
func (s *source) keepGrounds(ctx context.Context) error {
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	var notes []txn.Note
	next := map[string]*grounds{}
	for _, a := range s.approvals(view) {
		g := s.approving.kept[a.Digest]
		if g == nil {
			if g = s.groundsOf(a.Digest); g == nil {
				continue // of a plan that nobody here has made
			}
			value, err := json.Marshal(g)
			if err != nil {
				return err
			}
			notes = append(notes, txn.Note{Key: approvalNotes + s.name + "/" + a.Digest, Value: value})
		}
		next[a.Digest] = g
	}
	for digest := range s.approving.kept {
		if next[digest] == nil {
			notes = append(notes, txn.Note{Key: approvalNotes + s.name + "/" + digest})
		}
	}
	if len(notes) == 0 {
		return nil
	}
	e := s.engine
	_, _, err = txn.Run(ctx, e.cfg.Txn, e.cfg.Identity, txn.CommitOptions{Epoch: e.applier.Epoch, Notes: notes},
		func(txn.View) ([]txn.Change, error) { return nil, nil })
	if err != nil {
		return fmt.Errorf("note grounds of approvals: %w", err)
	}
	s.approving.kept = next
	return nil
}

// groundsOf are those of a plan that is awaited or previewed now.
func (s *source) groundsOf(digest string) *grounds {
	if a := s.approving.awaited; a != nil && a.Digest == digest {
		return a
	}
	for _, p := range s.previews.planned {
		if p.grounds != nil && p.grounds.Digest == digest {
			return p.grounds
		}
	}
	return nil
}
