package gitsource

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// compare works out what lies between the objects of two references, wherever
// the cluster is.
func (s *source) compare(ctx context.Context, view txn.View, from, to v1alpha1.GitReference) (*v1alpha1.PlanStatus, error) {
	out := &v1alpha1.PlanStatus{Revision: strconv.FormatInt(view.Revision(), 10)}
	var sets [2]*render.Set
	for i, ref := range []v1alpha1.GitReference{from, to} {
		set, problems, err := s.setOf(ctx, view, ref)
		if err != nil {
			return nil, err
		}
		if len(problems) > 0 {
			out.Problems = problems[:min(len(problems), maxProblems)]
			return out, nil
		}
		sets[i] = set
	}
	out.Base, out.Commit = sets[0].Commit.String(), sets[1].Commit.String()
	unseen := s.sealedBetween(sets[0], sets[1], out)
	outcomes, counts := Compare(sets[0], sets[1], unseen)
	out.Outcomes, out.Summary = outcomes[:min(len(outcomes), maxOutcomes)], counts
	return out, nil
}

// setOf gives the objects of a reference: as they were when it was applied, if
// they are kept, and rendered otherwise. What anybody may push is always
// rendered, without keys. What is kept from before there was a record of what
// was encrypted in it is rendered again, where that can be done.
func (s *source) setOf(ctx context.Context, view txn.View, ref v1alpha1.GitReference) (*render.Set, []v1alpha1.Problem, error) {
	var old *render.Set
	kept := func(id repo.ID) *render.Set {
		set, err := s.engine.rendered.Get(s.name, id)
		if err == nil && set.Unrecorded {
			old = set
		}
		if err != nil || set.Unrecorded { // one that is damaged is rendered, too
			return nil
		}
		return set
	}
	fail := func(err error) (*render.Set, []v1alpha1.Problem, error) {
		if old != nil {
			return old, nil, nil
		}
		return nil, []v1alpha1.Problem{{Message: err.Error()}}, nil
	}
	if id, err := repo.ParseID(ref.Commit); ref.Commit != "" && err == nil {
		// The repository may be away, or have lost it.
		if set := kept(id); set != nil {
			return set, nil, nil
		}
	}
	if s.follower.err != nil {
		return fail(s.follower.err)
	}
	name, id, err := s.follower.repo.Resolve(ref)
	if err != nil {
		return fail(err)
	}
	if !foreign(name) {
		if set := kept(id); set != nil {
			return set, nil, nil
		}
	}
	anybodys, err := s.anybodys(ctx, name, id)
	if err != nil {
		return fail(err)
	}
	set, _, problems, err := s.rendered(ctx, s.planner(anybodys, view), id)
	if err == nil && len(problems) > 0 && old != nil {
		return old, nil, nil
	}
	for i := range problems {
		problems[i].Message = fmt.Sprintf("%.12s: %s", id, problems[i].Message)
	}
	return set, problems, err
}

// sealedBetween names the encrypted files that were not looked into, and tells
// which objects are therefore not to be missed in the set that lacks them.
func (s *source) sealedBetween(a, b *render.Set, out *v1alpha1.PlanStatus) func(*render.Object) bool {
	files := slices.Compact(slices.Sorted(slices.Values(slices.Concat(a.Sealed, b.Sealed))))
	if len(files) == 0 {
		return nil
	}
	for _, file := range files[:min(len(files), maxOutcomes)] {
		changed := !bytes.Equal(s.fileOf(a.Commit, file), s.fileOf(b.Commit, file))
		out.Sealed = append(out.Sealed, v1alpha1.SealedFile{File: file, Changed: changed})
	}
	withheld := slices.Concat(a.Withheld, b.Withheld)
	return func(o *render.Object) bool {
		_, in := slices.BinarySearch(files, o.File)
		gvk := o.Body.GroupVersionKind()
		return in || a.Unsure || b.Unsure ||
			slices.Contains(withheld, render.Withheld{Group: gvk.Group, Kind: gvk.Kind, Namespace: o.Body.GetNamespace(), Name: o.Body.GetName()})
	}
}

// Compare says what lies between two sets of objects. Objects are named by
// their kinds, since no cluster is asked for resources. What is in one set only
// and unseen, which may be nil, is left out.
func Compare(from, to *render.Set, unseen func(*render.Object) bool) ([]v1alpha1.ObjectOutcome, v1alpha1.OperationCounts) {
	before, after := byKind(from), byKind(to)
	all := maps.Clone(before)
	maps.Copy(all, after)
	out := []v1alpha1.ObjectOutcome{}
	var counts v1alpha1.OperationCounts
	for _, ref := range slices.SortedFunc(maps.Keys(all), txn.Ref.Compare) {
		b, a := before[ref], after[ref]
		one := v1alpha1.ObjectOutcome{Object: ref.String(), Origin: cmp.Or(a, b).Origin()}
		switch {
		case (b == nil || a == nil) && unseen != nil && unseen(cmp.Or(a, b)):
			continue
		case b == nil:
			one.Operation = string(txn.Created)
			counts.Created++
		case a == nil:
			one.Operation = string(txn.Deleted)
			counts.Deleted++
		case a.Digest == b.Digest:
			counts.Unchanged++
			if a.File == b.File {
				continue
			}
			one.Operation, one.MovedFrom = string(txn.Unchanged), b.File
			counts.Moved++
		default:
			one.Operation = string(txn.Updated)
			counts.Changed++
			e := plan.Entry{Group: ref.Resource.Group, Kind: ref.Resource.Resource}
			one.Fields = drift.Diff(&e, b.Body, a.Body)
			for i, f := range one.Fields { // whatever kind an encrypted value has ended up in
				one.Fields[i].Before, one.Fields[i].After = shown(f.Before, from, to), shown(f.After, from, to)
			}
		}
		out = append(out, one)
	}
	return out, counts
}

// shown is a value as anybody may see it. Of a set that has no record of what was
// encrypted in it no value is shown.
func shown(value string, from, to *render.Set) string {
	if value != "" && (from.Unrecorded || to.Unrecorded) {
		return "(not shown)"
	}
	return to.Redact(from.Redact(value))
}

// byKind are the objects of a set.
func byKind(set *render.Set) map[txn.Ref]*render.Object {
	out := make(map[txn.Ref]*render.Object, len(set.Objects))
	for _, o := range set.Objects {
		gvk := o.Body.GroupVersionKind()
		out[txn.Ref{Resource: schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, Namespace: o.Body.GetNamespace(), Name: o.Body.GetName()}] = o
	}
	return out
}
