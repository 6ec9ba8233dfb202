package gitsource

import (
	"fmt"
	"slices"
	"sync"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
)

// claims tell what each source's newest commit asks for, whether it is applied
// or not: by them an object moves from one source to another without ever
// being deleted (docs/ordering.md).
type claims struct {
	mu  sync.Mutex // guards all below
	all map[string]*claim
	now int64 // counts commits that are seen and answers of remotes
}

// claim is what is known of one source.
type claim struct {
	// commit and generation are what refs are of; refs is nil before the first
	// plan, and then the applied commit, head, counts.
	commit     string
	head       string
	generation int64
	refs       map[txn.Ref]*render.Object
	// blocked says that the commit is held for nothing but objects of others.
	blocked bool
	// contested are those objects, with where they are written down.
	contested map[txn.Ref]string

	url string
	// tip is the newest commit that has been fetched; false: there is none.
	tip func() (string, bool)
	// ask has a remote asked for a newer one; nil for what lies on this machine.
	ask   func()
	asked int64 // when that was answered last, by claims.now
}

func newClaims() *claims { return &claims{all: map[string]*claim{}} }

func (c *claims) of(source string) *claim {
	if c.all[source] == nil {
		c.all[source] = &claim{}
	}
	return c.all[source]
}

// change changes what is known of a source and tells whether f says that this
// matters to others.
func (c *claims) change(source string, f func(*claim) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f(c.of(source))
}

// tick is a moment after all that were before.
func (c *claims) tick() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	return c.now
}

func (c *claims) forget(source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, source)
}

// yields tells whether an object of one source may become another one's: its
// own newest commit does not ask for it, and only waits for others itself; or
// there is no such source any more.
func (c *claims) yields(view txn.View, owner string, ref txn.Ref) bool {
	if _, exists := view.Get(txn.Ref{Resource: gitSources, Name: owner}); !exists {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.all[owner]
	if o == nil || o.refs == nil || !o.blocked {
		return false
	}
	_, asked := o.refs[ref]
	return !asked
}

// wanted names the sources that ask for an object which one of them lets go,
// or of which that is not known: their newest commits have not been planned, or
// their remotes have not been asked since a time. Those are asked now.
func (c *claims) wanted(view txn.View, by string, since int64) func(txn.Ref) []string {
	var behind, names []string
	var rest []*claim
	var asks []func()
	c.mu.Lock()
	own := c.of(by).url
	for o := range view.Each(gitSources, "") {
		if o.GetName() == by {
			continue
		}
		one, known := c.all[o.GetName()]
		if !known || one.behind(o.GetGeneration()) {
			behind = append(behind, o.GetName())
			continue
		}
		if one.outdated(own, since) {
			behind, asks = append(behind, o.GetName()), append(asks, one.ask)
			continue
		}
		rest, names = append(rest, one), append(names, o.GetName())
	}
	c.mu.Unlock()
	for _, ask := range asks { // whose answers take the lock
		ask()
	}
	return func(ref txn.Ref) []string {
		c.mu.Lock()
		defer c.mu.Unlock()
		out := slices.Clone(behind)
		for i, one := range rest {
			if _, asked := one.refs[ref]; asked {
				out = append(out, names[i])
			}
		}
		return out
	}
}

// behind tells whether a source may ask for more than is known.
func (o *claim) behind(generation int64) bool {
	if o.generation != generation || o.tip == nil {
		return true
	}
	tip, ok := o.tip()
	if !ok {
		return false
	}
	known := o.head
	if o.refs != nil {
		known = o.commit
	}
	return tip != known
}

// outdated tells whether a source's remote is to be asked for something newer.
func (o *claim) outdated(url string, since int64) bool {
	return o.ask != nil && o.url != url && o.asked < since
}

// rivals are the objects of a source that others ask for.
func (c *claims) rivals(owner string, owns func(txn.Ref) (plan.Entry, bool)) []v1alpha1.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []v1alpha1.Problem
	for name, o := range c.all {
		if name == owner {
			continue
		}
		for ref, origin := range o.contested {
			e, ours := owns(ref)
			if !ours {
				continue
			}
			file, line := v1alpha1.ParseOrigin(e.Origin)
			out = append(out, v1alpha1.Problem{File: file, Line: line, Object: ref.String(), Message: fmt.Sprintf(
				"the source %q asks for it too, at %s: it stays with this one, which applied it first", name, origin)})
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.Problem) int {
		return slices.Compare([]string{a.Object, a.Message}, []string{b.Object, b.Message})
	})
	return out[:min(len(out), maxProblems)]
}
