package gitsource

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// announce tells the other sources where this one's commits come from.
func (s *source) announce(old, next *v1alpha1.GitSource, observed int64) {
	f := s.follower
	var ask func()
	if f.member != nil {
		ask = func() { f.member.Now(nil) }
	}
	ref := next.Spec.Ref
	s.engine.claims.change(s.name, func(c *claim) bool {
		c.url, c.ask = next.Spec.URL, ask
		c.tip = func() (string, bool) {
			if f.repo == nil {
				return "", false
			}
			_, id, err := f.repo.Resolve(ref)
			return id.String(), err == nil
		}
		if c.head == "" && c.refs == nil {
			c.head = s.inventory.Head.Commit
		}
		if old == nil && observed == next.Generation || old != nil && sameWishes(&old.Spec, &next.Spec) {
			c.generation = next.Generation
		}
		return true
	})
	s.engine.tellOthers(s.name)
}

// sameWishes tells whether two specs ask for the same objects of a commit.
func sameWishes(a, b *v1alpha1.GitSourceSpec) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	x.Suspend, y.Suspend, x.Pin, y.Pin = nil, nil, nil, nil
	return reflect.DeepEqual(x, y)
}

// claim notes what the newest commit asks for, and tells the other sources.
func (s *source) claim(commit string, p *plan.Plan) {
	blocked := len(p.Contested) > 0 && len(p.Problems) == len(p.Contested)
	contested := map[txn.Ref]string{}
	for ref := range p.Contested {
		contested[ref] = p.Desired[ref].Origin()
	}
	if s.engine.claims.change(s.name, func(c *claim) bool {
		same := c.refs != nil && c.commit == commit && c.generation == s.object.Generation && c.blocked == blocked && maps.Equal(c.contested, contested)
		c.commit, c.generation, c.refs, c.blocked, c.contested = commit, s.object.Generation, p.Desired, blocked, contested
		return !same
	}) {
		s.engine.tellOthers(s.name)
	}
}

// tellOthers has the other sources look at what they wait for.
func (e *Engine) tellOthers(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for other, s := range e.sources {
		if other != name {
			s.tell(func(p *pending) { p.moved = true })
		}
	}
}

// moved looks at what others have let go of or want, and tells whether the
// commit is worth another plan for it.
func (s *source) moved(p *pending) bool {
	if !p.moved {
		return false
	}
	s.rivals = s.engine.claims.rivals(s.name, func(ref txn.Ref) (plan.Entry, bool) {
		e, ok := s.inventory.Entries[ref]
		return e, ok && !e.Left
	})
	if !s.blocked && len(s.left()) == 0 {
		return false
	}
	s.tried = trial{}
	return true
}

// letsGo tells whether objects of an inventory are free in the next one.
func letsGo(old, next *plan.Inventory) bool {
	for ref, e := range old.Entries {
		if now, ok := next.Entries[ref]; !ok || now.Left && !e.Left {
			return true
		}
	}
	return false
}

// left are the objects that the source has let go of and nobody has taken.
func (s *source) left() []txn.Ref {
	var out []txn.Ref
	for ref, e := range s.inventory.Entries {
		if e.Left {
			out = append(out, ref)
		}
	}
	slices.SortFunc(out, txn.Ref.Compare)
	return out
}

// leftProblems say why objects are still there.
func (s *source) leftProblems(left map[txn.Ref][]string) []v1alpha1.Problem {
	var out []v1alpha1.Problem
	for _, ref := range slices.SortedFunc(maps.Keys(left), txn.Ref.Compare) {
		why := "going back never deletes what came from another source"
		if names := left[ref]; len(names) > 0 {
			why = fmt.Sprintf("the source %q asks for it, or may", names[0])
		}
		out = append(out, v1alpha1.Problem{Object: ref.String(), Message: "is not in git any more, and left as it is: " + why})
	}
	return out[:min(len(out), maxProblems)]
}

// release is what another source's transaction writes of the inventory of the
// one that it takes objects from.
func (e *Engine) release(owner string, refs []txn.Ref) []txn.Note {
	old := &plan.Inventory{Entries: e.owners.of(owner)}
	next := &plan.Inventory{Entries: maps.Clone(old.Entries)}
	for _, ref := range refs {
		delete(next.Entries, ref)
	}
	return next.Notes(owner, old)
}

// took tells a source that objects are no longer its own.
func (e *Engine) took(owner string, refs []txn.Ref) {
	e.mu.Lock()
	s := e.sources[owner]
	e.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	s.given = append(s.given, refs...)
	s.mu.Unlock()
	poke(s.wake)
}

// give takes what others have taken out of the inventory.
func (s *source) give() {
	s.mu.Lock()
	given := s.given
	s.given = nil
	s.mu.Unlock()
	if len(given) == 0 {
		return
	}
	next := &plan.Inventory{Head: s.inventory.Head, Entries: maps.Clone(s.inventory.Entries)}
	for _, ref := range given {
		delete(next.Entries, ref)
		delete(s.broken, ref)
		s.remains = slices.DeleteFunc(s.remains, func(p v1alpha1.Problem) bool { return p.Object == ref.String() })
	}
	s.inventory = next
	s.tracker.Keep(next)
	s.status.Objects = int32(len(next.Entries))
}

// holder is the source that has an object.
func (s *source) holder(ref txn.Ref) (string, bool) {
	o, ok := s.engine.owners.holder(ref)
	return o.source, ok
}

// yields tells whether another source lets an object go.
func (s *source) yields(view txn.View, owner string, ref txn.Ref) bool {
	if o, ok := s.engine.owners.holder(ref); ok && o.source == owner && o.entry.Left {
		return true
	}
	return s.engine.claims.yields(view, owner, ref)
}

// wantedSince tells who may want what this source lets go.
func (s *source) wantedSince(since int64) func(txn.View) func(txn.Ref) []string {
	return func(view txn.View) func(txn.Ref) []string { return s.engine.claims.wanted(view, s.name, since) }
}

// moving tells whether another source has taken an object over, as its fields
// say before anybody else does.
func (s *source) moving(view txn.View, ref txn.Ref) bool {
	o, ok := view.Get(ref)
	return ok && slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		source, applied := strings.CutPrefix(f.Manager, plan.Manager(""))
		return applied && source != s.name && f.Operation == metav1.ManagedFieldsOperationApply && f.Subresource == ""
	})
}
