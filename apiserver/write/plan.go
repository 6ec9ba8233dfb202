package write

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"
	"weak"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// draft is a View and the pending changes of a plan in the making. Unlike
// txn.Overlay it grows; it is used by one goroutine.
type draft struct {
	base    txn.View
	pending map[schema.GroupResource]map[txn.Ref]txn.Object
	indexes func(view txn.View, resource schema.GroupResource, index string, o txn.Object) []string
}

var _ txn.View = (*draft)(nil)

func (d *draft) put(ref txn.Ref, o txn.Object) {
	if d.pending[ref.Resource] == nil {
		d.pending[ref.Resource] = map[txn.Ref]txn.Object{}
	}
	d.pending[ref.Resource][ref] = o
}

func (d *draft) add(p planned) {
	o := p.outcome
	if o.Err != nil {
		return
	}
	if o.Operation != txn.Unchanged {
		d.put(o.Change.Ref, o.After)
	}
	for _, e := range p.extra {
		d.put(e.ref, e.object)
	}
}

func (d *draft) Revision() int64 { return d.base.Revision() }

func (d *draft) Get(ref txn.Ref) (txn.Object, bool) {
	if o, ok := d.pending[ref.Resource][ref]; ok {
		return o, o != nil
	}
	return d.base.Get(ref)
}

// Count is how many objects of a resource there may be; 0 is exact. It makes
// what concerns nobody cost nothing.
func (d *draft) Count(resource schema.GroupResource) int {
	counting, ok := d.base.(interface {
		Count(resource schema.GroupResource) int
	})
	if !ok {
		return 1
	}
	return counting.Count(resource) + len(d.pending[resource])
}

// over is the View of one resource; txn.Overlay does the merging.
func (d *draft) over(resource schema.GroupResource) txn.View {
	return txn.Overlay(d.base, d.pending[resource], func(r schema.GroupResource, index string, o txn.Object) []string {
		return d.indexes(d, r, index, o)
	})
}

func (d *draft) Each(resource schema.GroupResource, namespace string) iter.Seq[txn.Object] {
	return d.over(resource).Each(resource, namespace)
}

func (d *draft) EachIndexed(resource schema.GroupResource, index, value string) iter.Seq[txn.Object] {
	return d.over(resource).EachIndexed(resource, index, value)
}

// Plan runs the changes through the pipeline, each on top of the ones before
// it, and writes nothing. It implements txn.Interface.
func (p *Path) Plan(ctx context.Context, view txn.View, identity txn.Identity, changes []txn.Change) (*txn.Result, error) {
	d := &draft{base: view, pending: map[schema.GroupResource]map[txn.Ref]txn.Object{}, indexes: p.indexes}
	all := make([]planned, len(changes))
	for i, change := range changes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		all[i] = p.plan(ctx, d, identity, change, manner{fresh: true})
		d.add(all[i])
	}
	result := &txn.Result{Revision: view.Revision(), Identity: identity, Outcomes: make([]txn.Outcome, len(all))}
	for i, one := range all {
		result.Outcomes[i] = one.outcome
	}
	result.Compares = compares(view, all)
	p.plans.remember(result, &sealed{
		base: view, planned: all, compares: result.Compares, hypothetical: !p.Store.Owns(view),
		dryRun: slices.ContainsFunc(changes, func(c txn.Change) bool { return c.DryRun }),
	})
	return result, nil
}

// compares are the deciding keys that the plan does not write itself.
func compares(base txn.View, all []planned) []txn.Compare {
	written := map[txn.Ref]bool{}
	for _, one := range all {
		if one.outcome.Err == nil && one.outcome.Operation != txn.Unchanged {
			written[one.outcome.Change.Ref] = true
		}
	}
	seen := map[txn.Ref]bool{}
	var out []txn.Compare
	for _, one := range all {
		if one.outcome.Err != nil || one.outcome.Operation == txn.Unchanged {
			// What is not written is not compared either: the status of an
			// unchanged object may move on while the rest is committed.
			continue
		}
		for _, ref := range one.decides {
			if written[ref] || seen[ref] {
				continue
			}
			seen[ref] = true
			o, _ := base.Get(ref)
			out = append(out, txn.Compare{Ref: ref, Revision: revision(o)})
		}
	}
	slices.SortFunc(out, func(x, y txn.Compare) int { return x.Ref.Compare(y.Ref) })
	return out
}

// sealed is the private record of a plan. Commit writes what is recorded here,
// not what the Result in the caller's hands says.
type sealed struct {
	base     txn.View
	planned  []planned
	compares []txn.Compare
	// hypothetical marks a plan on top of somebody's pending changes: what it
	// relied on is not in the store, so it can be looked at but not committed.
	hypothetical bool
	// dryRun marks a plan with changes that were asked about only.
	dryRun bool
}

// plans remembers the records for as long as their Results live.
type plans struct {
	records sync.Map // weak.Pointer[txn.Result] → *sealed
}

func (p *plans) remember(result *txn.Result, record *sealed) {
	key := weak.Make(result)
	p.records.Store(key, record)
	runtime.AddCleanup(result, func(k weak.Pointer[txn.Result]) { p.records.Delete(k) }, key)
}

// Told is what the outcomes of a Result have to tell the audit, in their
// order; nil for one that was not planned here.
func (p *Path) Told(result *txn.Result) []Told {
	record, ok := p.plans.recall(result)
	if !ok {
		return nil
	}
	all := make([]Told, len(record.planned))
	for i, one := range record.planned {
		all[i] = one.told
	}
	return all
}

func (p *plans) recall(result *txn.Result) (*sealed, bool) {
	record, ok := p.records.Load(weak.Make(result))
	if !ok {
		return nil, false
	}
	return record.(*sealed), true
}
