package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/render"
)

// The size at which a stage is cut.
const (
	MaxStageObjects = 2000
	MaxStageBytes   = 8 << 20
)

// Mapper finds the resource of a kind. meta.RESTMapper is one.
type Mapper interface {
	RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error)
}

// Input is everything a plan depends on.
type Input struct {
	Source string
	Spec   *v1alpha1.GitSourceSpec // with its defaults
	// Ref is the full name of the reference that the commit was found on.
	Ref string
	Set *render.Set
	// Removed are the hooks of the commit before that are run when they are
	// taken out of git; those that Set has still do not count.
	Removed   []*render.Object
	Inventory *Inventory
	View      txn.View
	Mapper    Mapper
	// Consents are the values of the commit's Allow-Delete trailers.
	Consents []string
	// Owner tells which other source has an object in its inventory.
	Owner func(txn.Ref) (source string, owned bool)
	// Yields tells whether the owner lets an object go: then it is taken over.
	// Nil: never.
	Yields func(view txn.View, owner string, ref txn.Ref) bool
	// Wanted names who else asks for an object that is no longer desired, or may
	// ask for it: then it is left and not deleted. Nil: nobody does.
	Wanted func(view txn.View) func(txn.Ref) []string
	// Leave gives a desired object what is left to others of the live one; it
	// may be nil.
	Leave func(view txn.View, e *Entry, desired *unstructured.Unstructured, live txn.Object) error
	// Keep tells of an object that is no longer desired whether nobody knows that:
	// it stays as it is. Nil: everything is known.
	Keep func(*Entry) bool
	// All plans objects too that have not changed since they were applied;
	// otherwise only those of Dirty.
	All   bool
	Dirty map[txn.Ref]bool
	// Back says that exactly this set is asked for, wherever it stands in
	// history: the way back from a commit that failed, or a pin.
	Back bool
	// InPlace says that nothing is replaced: the set is applied, and only
	// compared with the cluster.
	InPlace bool
	// Waits tells how objects are, for a plan in which higher waves wait for
	// lower ones; nil for one that writes everything at once.
	Waits Waits
}

// Plan is what to ask for.
type Plan struct {
	// Stages are written one after the other, each as one transaction.
	Stages []Stage
	// Next is the inventory afterwards.
	Next *Inventory
	// Desired are the objects of the set by reference.
	Desired map[txn.Ref]*render.Object
	// Hooks are the objects of the set that are run and not kept.
	Hooks []Hook
	// Contested are the desired objects that other sources have and keep.
	Contested map[txn.Ref]string
	// Taken are those that are taken over from other sources.
	Taken map[txn.Ref]string
	// Left are the objects that are not deleted because of others, and whose
	// they may become.
	Left map[txn.Ref][]string
	// Replaced are the objects that are deleted and created anew.
	Replaced map[txn.Ref]bool
	Counts   v1alpha1.OperationCounts
	// Problems, when there are any, forbid the plan.
	Problems []v1alpha1.Problem
	// Held says that only a consent is missing.
	Held bool
	// Passing says that a problem may go away without another commit.
	Passing bool
	// InPlace is the input's.
	InPlace bool

	back bool // Input.Back
}

// Stage is one transaction.
type Stage struct {
	Changes []txn.Change
	// Inventory is what the source has after this stage.
	Inventory *Inventory
	// After are the objects that have to be healthy before it is written, and
	// may not be so by then.
	After []txn.Ref
}

// Manager is the field manager of a source.
func Manager(source string) string { return "headway:" + source }

// wanted is one object of the set with what the mapper knows of it.
type wanted struct {
	ref    txn.Ref
	entry  Entry
	object *render.Object
	wave   int
	// namespaced says that the object is of a kind that has namespaces.
	namespaced bool
}

// Make makes the plan.
func Make(in Input) *Plan {
	p := &Plan{InPlace: in.InPlace, back: in.Back, Next: NewInventory(), Desired: make(map[txn.Ref]*render.Object, len(in.Set.Objects))}
	tenancy := NewTenancy(in.Spec)
	all := p.resolve(&in, tenancy)
	if len(p.Problems) > 0 {
		return p
	}
	var applies []wanted
	for _, w := range all {
		p.Next.Entries[w.ref] = w.entry
		if !in.All && !in.Dirty[w.ref] && in.Inventory.Entries[w.ref].Digest == w.entry.Digest && w.entry.Digest != "" && in.Inventory.Entries[w.ref].Tenant == w.entry.Tenant && !in.Inventory.Entries[w.ref].Left {
			p.Counts.Unchanged++
			continue
		}
		if _, ok := in.View.Get(w.ref); ok {
			p.Counts.Changed++
		} else {
			p.Counts.Created++
		}
		applies = append(applies, w)
	}
	deletes := p.prune(&in)
	if p.guard(&in, deletes); len(p.Problems) > 0 {
		return p
	}
	p.cut(&in, all, applies, deletes)
	p.act(&in, tenancy)
	return p
}

// resolve maps every object of the set and finds what is there twice or
// belongs to another source.
func (p *Plan) resolve(in *Input, tenancy *Tenancy) []wanted {
	r := newResolver(in, tenancy)
	all := make([]wanted, 0, len(in.Set.Objects))
	for _, o := range in.Set.Objects {
		w, err := r.resolve(o)
		fail := func(format string, args ...any) {
			p.Problems = append(p.Problems, v1alpha1.Problem{File: o.File, Line: o.Line, Object: describe(o, w.ref), Message: fmt.Sprintf(format, args...)})
		}
		if err != nil {
			fail("%v", err)
			continue
		}
		if refusal := tenancy.refusal(&w); refusal != "" {
			fail("%s", refusal)
			continue
		}
		if is, err := p.hook(w, tenancy.As(w.entry.Tenant)); err != nil {
			fail("%v", err)
			continue
		} else if is {
			continue
		}
		if twice, ok := p.Desired[w.ref]; ok {
			fail("is written down twice: also at %s", twice.Origin())
			continue
		}
		if !p.own(in, &w) {
			continue
		}
		if w.wave, err = waveOf(o.Body); err != nil {
			fail("%v", err)
			continue
		}
		p.Desired[w.ref] = o
		all = append(all, w)
	}
	p.removed(in, r, tenancy)
	p.Held = len(p.Contested) > 0 && len(p.Contested) == len(p.Problems)
	for _, h := range p.Hooks {
		if o, ok := p.Desired[h.Ref]; ok {
			p.Problems = append(p.Problems, v1alpha1.Problem{
				File: h.Object.File, Line: h.Object.Line, Object: h.Ref.String(), Message: "is a hook and an object of the same commit: also at " + o.Origin(),
			})
		}
	}
	return all
}

// own decides whose an object is that another source has: it is taken over
// where that one lets it go, and left out on the way back to an earlier commit,
// which must not fail for what has moved since.
func (p *Plan) own(in *Input, w *wanted) bool {
	w.entry.From = in.Inventory.Entries[w.ref].From
	if in.Owner == nil {
		return true
	}
	other, owned := in.Owner(w.ref)
	if !owned || other == in.Source {
		return true
	}
	set := func(m *map[txn.Ref]string) {
		if *m == nil {
			*m = map[txn.Ref]string{}
		}
		(*m)[w.ref] = other
	}
	switch {
	case in.Yields != nil && in.Yields(in.View, other, w.ref):
		set(&p.Taken)
		w.entry.From = other
		return true
	case in.Back:
		return false
	}
	set(&p.Contested)
	p.Desired[w.ref] = w.object
	p.Problems = append(p.Problems, v1alpha1.Problem{
		File: w.object.File, Line: w.object.Line, Object: w.ref.String(),
		Message: fmt.Sprintf("belongs to the source %q, which applied it first; it moves here once it is no longer in a commit of that one", other),
	})
	return false
}

func describe(o *render.Object, ref txn.Ref) string {
	if ref.Name != "" {
		return ref.String()
	}
	return o.Body.GetKind() + " " + o.Body.GetName()
}

// prune lists what is no longer desired and still there.
func (p *Plan) prune(in *Input) []Entry {
	var deletes []Entry
	var wanted func(txn.Ref) []string
	hooks := map[txn.Ref]bool{}
	for _, h := range p.Hooks {
		hooks[h.Ref] = true
	}
	for ref, e := range in.Inventory.Entries {
		if _, ok := p.Desired[ref]; ok || hooks[ref] {
			continue // or has become a hook, and is dealt with as one
		}
		if in.Keep != nil && in.Keep(&e) {
			p.Next.Entries[ref] = e
			p.Counts.Unchanged++
			continue
		}
		if !ptr.Deref(in.Spec.Prune, true) {
			p.Next.Entries[ref] = e // stays ours, should pruning be switched on
			continue
		}
		live, ok := in.View.Get(ref)
		if !ok || live.GetAnnotations()[v1alpha1.AnnotationPrune] == v1alpha1.PruneDisabled {
			continue // somebody else's from now on
		}
		if wanted == nil && in.Wanted != nil {
			wanted = in.Wanted(in.View)
		}
		var by []string
		if wanted != nil {
			by = wanted(ref)
		}
		if len(by) > 0 || in.Back && e.From != "" {
			if p.Left == nil {
				p.Left = map[txn.Ref][]string{}
			}
			p.Left[ref] = by
			e.Left = true
			p.Next.Entries[ref] = e
			continue
		}
		deletes = append(deletes, e)
	}
	deletes = sortDeletes(in.View, deletes)
	p.Counts.Deleted = int32(len(deletes))
	return deletes
}

// guard wants consent for what deletes much.
func (p *Plan) guard(in *Input, deletes []Entry) {
	total := len(in.Inventory.Entries)
	n := len(deletes)
	percent := int(ptr.Deref(in.Spec.Guards.MaxDeletePercent, v1alpha1.DefaultMaxDeletePercent))
	least := int(ptr.Deref(in.Spec.Guards.MinDeletes, v1alpha1.DefaultMinDeletes))
	everything := n > 0 && len(p.Desired) == 0
	if n == 0 || !everything && (n < least || n*100 <= percent*total) {
		return
	}
	missing := 0
	for _, e := range deletes {
		if !consented(in.Consents, &e) {
			missing++
		}
	}
	if missing == 0 {
		return
	}
	p.Held = true
	why := fmt.Sprintf("would delete %d of %d objects, more than %d %%", n, total, percent)
	if everything {
		why = fmt.Sprintf("would delete all %d objects", total)
	}
	p.Problems = append(p.Problems, v1alpha1.Problem{Message: "the commit " + why +
		`, and is held. To go on, commit again with a last line "Allow-Delete: all" in the message (or one line for each object, as "Allow-Delete: deployment/shop/web")`})
}

// consented tells whether a trailer names an entry: all, kind/namespace/name,
// kind/name, or ns/name for everything in a namespace.
func consented(consents []string, e *Entry) bool {
	for _, c := range consents {
		if strings.EqualFold(c, "all") {
			return true
		}
		parts := strings.Split(c, "/")
		if len(parts) < 2 {
			continue
		}
		kind := strings.ToLower(parts[0])
		if kind == "ns" && len(parts) == 2 && (e.Namespace == parts[1] || e.Kind == "Namespace" && e.Name == parts[1]) {
			return true
		}
		if kind != strings.ToLower(e.Kind) && kind != e.Resource {
			continue
		}
		if len(parts) == 2 && e.Namespace == "" && e.Name == parts[1] || len(parts) == 3 && e.Namespace == parts[1] && e.Name == parts[2] {
			return true
		}
	}
	return false
}

// cut orders the changes and cuts them into stages.
func (p *Plan) cut(in *Input, all, applies []wanted, deletes []Entry) {
	c := cutter{plan: p, in: in, have: maps.Clone(in.Inventory.Entries)}
	for _, g := range inWaves(in.Waits, all, sortApplies(applies)) {
		if len(g.after) > 0 {
			c.flush()
			c.stage.After = g.after
		}
		for _, w := range g.applies {
			body, size := p.body(in, w)
			if len(c.stage.Changes) > 0 && (len(c.stage.Changes) >= MaxStageObjects || c.bytes+size > MaxStageBytes) {
				c.flush()
			}
			c.bytes += size
			c.have[w.ref] = w.entry
			c.stage.Changes = append(c.stage.Changes, txn.Change{
				Verb: txn.Apply, Ref: w.ref, Version: schema.FromAPIVersionAndKind(w.entry.APIVersion, "").Version, Object: body,
				FieldManager: Manager(in.Source), Force: true, Origin: w.entry.Origin,
			})
			if from, ok := p.Taken[w.ref]; ok {
				c.stage.Changes = append(c.stage.Changes, disown(from, w))
			}
		}
	}
	for _, e := range deletes {
		if len(c.stage.Changes) >= MaxStageObjects {
			c.flush()
		}
		delete(c.have, e.Ref())
		background := metav1.DeletePropagationBackground
		c.stage.Changes = append(c.stage.Changes, txn.Change{Verb: txn.Delete, Ref: e.Ref(), Propagation: &background, FieldManager: Manager(in.Source), Origin: e.Origin})
	}
	p.Next.Head = Head{Commit: in.Set.Commit.String(), Ref: in.Ref, Complete: true}
	c.stage.Inventory = p.Next
	p.Stages = append(p.Stages, c.stage)
}

// disown is the change by which a source that an object is taken over from
// owns no field of it any more: those that nobody else asks for go.
func disown(from string, w wanted) txn.Change {
	body := &unstructured.Unstructured{}
	body.SetAPIVersion(w.entry.APIVersion)
	body.SetKind(w.entry.Kind)
	body.SetName(w.ref.Name)
	body.SetNamespace(w.ref.Namespace)
	return txn.Change{
		Verb: txn.Apply, Ref: w.ref, Version: schema.FromAPIVersionAndKind(w.entry.APIVersion, "").Version, Object: body,
		FieldManager: Manager(from), Force: true, Origin: w.entry.Origin,
	}
}

// cutter makes stages of what it is given one by one.
type cutter struct {
	plan  *Plan
	in    *Input
	have  map[txn.Ref]Entry
	stage Stage
	bytes int
}

// flush ends a stage, if there is anything in it.
func (c *cutter) flush() {
	if len(c.stage.Changes) == 0 {
		return
	}
	// What is applied, and only compared, is not less so in between.
	head := Head{Commit: c.in.Set.Commit.String(), Ref: c.in.Ref, Complete: true}
	head.Complete = c.in.Inventory.Head == head
	c.stage.Inventory = &Inventory{Head: head, Entries: maps.Clone(c.have)}
	c.plan.Stages = append(c.plan.Stages, c.stage)
	c.stage, c.bytes = Stage{}, 0
}

// body is the object as it is applied, and about how large it is.
func (p *Plan) body(in *Input, w wanted) (*unstructured.Unstructured, int) {
	body := w.object.Body.DeepCopy()
	body.SetNamespace(w.ref.Namespace)
	if w.ref.Namespace == "" {
		unstructured.RemoveNestedField(body.Object, "metadata", "namespace")
	}
	if live, ok := in.View.Get(w.ref); ok && in.Leave != nil {
		if err := in.Leave(in.View, &w.entry, body, live); err != nil {
			p.Problems = append(p.Problems, v1alpha1.Problem{File: w.object.File, Line: w.object.Line, Object: w.ref.String(), Message: err.Error()})
		}
	}
	encoded, err := json.Marshal(body.Object)
	if err != nil {
		return body, 0
	}
	return body, len(encoded)
}
