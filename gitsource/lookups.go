package gitsource

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
)

// How often a commit is rendered again, within a time, because what its charts
// have looked up has changed. Their own objects may be among that.
const (
	maxLooks    = 6
	looksWithin = time.Minute
)

// reasonLookups is the event about charts that would be rendered more often.
const reasonLookups = "LookupsChangeOften"

// lookups tells which sources have looked an object up. It is asked at every
// write of the cluster.
type lookups struct {
	mu sync.RWMutex // guards by
	// by has, for a resource and a source, what was looked up: objects, and
	// without a name all of a namespace or, without that too, of the cluster.
	by map[schema.GroupResource]map[string]map[txn.Ref]bool
}

// of are the sources that have looked an object up.
func (l *lookups) of(ref txn.Ref) []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var out []string
	for name, refs := range l.by[ref.Resource] {
		if refs[ref] || refs[txn.Ref{Resource: ref.Resource, Namespace: ref.Namespace}] || refs[txn.Ref{Resource: ref.Resource}] {
			out = append(out, name)
		}
	}
	return out
}

// set notes what a source has looked up last.
func (l *lookups) set(name string, refs map[txn.Ref]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for resource, of := range l.by {
		if delete(of, name); len(of) == 0 {
			delete(l.by, resource)
		}
	}
	for ref := range refs {
		if l.by == nil {
			l.by = map[schema.GroupResource]map[string]map[txn.Ref]bool{}
		}
		if l.by[ref.Resource] == nil {
			l.by[ref.Resource] = map[string]map[txn.Ref]bool{}
		}
		if l.by[ref.Resource][name] == nil {
			l.by[ref.Resource][name] = map[txn.Ref]bool{}
		}
		l.by[ref.Resource][name][ref] = true
	}
}

// looking is what one render looks up, and what it saw.
type looking struct {
	mu   sync.Mutex // guards all below
	view txn.View
	refs map[txn.Ref]bool
}

// at begins with what one render sees.
func (l *looking) at(view txn.View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view, l.refs = view, map[txn.Ref]bool{}
}

func (l *looking) note(ref txn.Ref) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refs != nil { // else templates that took too long still run
		l.refs[ref] = true
	}
}

func (l *looking) take() (txn.View, map[txn.Ref]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	view, refs := l.view, l.refs
	l.view, l.refs = nil, nil
	return view, refs
}

// looks is when a source's commit was rendered again for lookups.
type looks struct {
	times []time.Time
	seen  int64     // revision of the View that was rendered on last
	at    time.Time // of the next one, if it has to wait
}

// watchLookups has the source hear of changes of what the last render has
// looked up; of those since its View it hears at once.
func (s *source) watchLookups(ctx context.Context) error {
	seen, refs := s.follower.looking.take()
	s.engine.lookups.set(s.name, refs)
	if len(refs) == 0 {
		return nil
	}
	s.looks.seen = seen.Revision()
	now, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	for ref := range refs {
		if !sameSeen(seen, now, ref) {
			s.tell(func(p *pending) { p.relook = true })
			return nil
		}
	}
	return nil
}

// sameSeen tells whether a lookup gives the same in two Views.
func sameSeen(before, after txn.View, ref txn.Ref) bool {
	if ref.Name != "" {
		b, _ := before.Get(ref)
		a, _ := after.Get(ref)
		return sameObject(b, a)
	}
	all := map[txn.Ref]txn.Object{}
	for o := range before.Each(ref.Resource, ref.Namespace) {
		all[txn.Ref{Namespace: o.GetNamespace(), Name: o.GetName()}] = o
	}
	for o := range after.Each(ref.Resource, ref.Namespace) {
		at := txn.Ref{Namespace: o.GetNamespace(), Name: o.GetName()}
		if !sameObject(all[at], o) {
			return false
		}
		delete(all, at)
	}
	return len(all) == 0
}

// sameObject compares what charts see of an object, but for what every write
// changes.
func sameObject(a, b txn.Object) bool {
	switch {
	case a == nil || b == nil:
		return a == nil && b == nil
	case a.GetUID() == b.GetUID() && a.GetResourceVersion() == b.GetResourceVersion():
		return true
	}
	x, errX := content(a, schema.GroupVersionKind{})
	y, errY := content(b, schema.GroupVersionKind{})
	if errX != nil || errY != nil {
		return false
	}
	for _, o := range []map[string]any{x, y} {
		unstructured.RemoveNestedField(o, "metadata", "resourceVersion")
		unstructured.RemoveNestedField(o, "metadata", "managedFields")
	}
	return reflect.DeepEqual(x, y)
}

// relook tells whether the commit is to be rendered again, because what its
// charts have looked up is different now. Charts that change what they look up
// themselves would go round for ever: they are let do so a few times a minute.
func (s *source) relook(p *pending) bool {
	now := s.now()
	due := !s.looks.at.IsZero() && !now.Before(s.looks.at)
	changed := p.relook || slices.ContainsFunc(p.looked, func(w txn.Write) bool {
		return w.Revision > s.looks.seen && !sameObject(w.Before, w.After)
	})
	if !changed && !due {
		return false
	}
	s.looks.times = slices.DeleteFunc(s.looks.times, func(t time.Time) bool { return !now.Before(t.Add(looksWithin)) })
	if len(s.looks.times) >= maxLooks {
		if s.looks.at.IsZero() {
			s.engine.cfg.Events(s.object, corev1.EventTypeWarning, reasonLookups,
				fmt.Sprintf("what charts look up has changed %d times within %s; the commit is rendered again at most so often", maxLooks, looksWithin))
		}
		s.looks.at = s.looks.times[0].Add(looksWithin)
		return false
	}
	s.looks.times, s.looks.at = append(s.looks.times, now), time.Time{}
	s.tried = trial{}
	return true
}
