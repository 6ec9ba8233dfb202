package gitsource

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/objectcel"
)

var definitions = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}

// reasonCycle is why sources wait that depend on each other.
const reasonCycle = "DependencyCycle"

// dependents tells which sources wait for an object. It is read on every write
// of the cluster, and empty while nobody waits.
type dependents struct {
	mu      sync.RWMutex // guards all below
	waiting map[string][]txn.Ref
	ahead   map[string]txn.Ref // what a source follows for good
}

// of are the sources that wait for an object, or for any of its resource.
func (d *dependents) of(ref txn.Ref) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []string
	for name, refs := range d.waiting {
		if slices.Contains(refs, ref) || slices.Contains(refs, txn.Ref{Resource: ref.Resource}) {
			out = append(out, name)
		}
	}
	for name, at := range d.ahead {
		if at == ref {
			out = append(out, name)
		}
	}
	return out
}

// follow has a source hear of every write of an object; an empty reference ends
// that.
func (d *dependents) follow(name string, ref txn.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ahead == nil {
		d.ahead = map[string]txn.Ref{}
	}
	if delete(d.ahead, name); ref != (txn.Ref{}) {
		d.ahead[name] = ref
	}
}

// wait notes what a source waits for; nothing ends the wait.
func (d *dependents) wait(name string, refs []txn.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[string][]txn.Ref{}
	}
	if delete(d.waiting, name); len(refs) > 0 {
		d.waiting[name] = refs
	}
}

// needed is a dependency with where it is looked for.
type needed struct {
	v1alpha1.Dependency
	ref txn.Ref
	err error // why it cannot be looked for
}

func (s *source) needed() []needed {
	out := make([]needed, len(s.object.Spec.DependsOn))
	for i, d := range s.object.Spec.DependsOn {
		out[i] = needed{Dependency: d, ref: txn.Ref{Resource: gitSources, Name: d.Source}}
		if d.Source != "" {
			continue
		}
		gvk := schema.FromAPIVersionAndKind(d.APIVersion, d.Kind)
		m, err := s.engine.cfg.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			out[i].ref, out[i].err = txn.Ref{Resource: definitions}, fmt.Errorf("there is no kind %s in %s yet", d.Kind, d.APIVersion)
			continue
		}
		out[i].ref = txn.Ref{Resource: m.Resource.GroupResource(), Namespace: d.Namespace, Name: d.Name}
	}
	return out
}

// waits holds a commit back until what the source depends on is there. What is
// applied, or on its way, is not undone, and a way back does not wait.
//
//	missing ─► Waiting ─► a write of what is missing ─► look again
func (s *source) waits(ctx context.Context, id repo.ID, a aim) (bool, error) {
	all := s.needed()
	if len(all) == 0 || a.back() || s.inventory.Head.Commit == id.String() {
		s.engine.dependents.wait(s.name, nil)
		return false, nil
	}
	refs := make([]txn.Ref, len(all))
	unknown := false
	for i, n := range all {
		refs[i], unknown = n.ref, unknown || n.err != nil
	}
	// First to be woken, then the View: nothing comes in between unseen.
	s.engine.dependents.wait(s.name, refs)
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return false, fmt.Errorf("view: %w", err)
	}
	var missing []string
	for _, n := range all {
		if why := s.missing(view, n); why != "" {
			missing = append(missing, n.String()+" "+why)
		}
	}
	circle := circle(view, s.name)
	if len(missing) == 0 && circle == nil {
		s.engine.dependents.wait(s.name, nil)
		return false, nil
	}
	reason, message := string(v1alpha1.NotifyWaiting), "waits for "+strings.Join(missing, "; ")
	if circle != nil { // even while it happens to be satisfied
		reason, message = reasonCycle, "the sources wait for each other: "+strings.Join(circle, " → ")
	}
	st := &s.release.Status
	st.Phase, st.Message, st.Problems, st.FinishedTime = v1alpha1.ReleasePlanned, message, nil, nil
	s.problems = nil
	s.condition(v1alpha1.ConditionReady, false, reason, message)
	s.condition(v1alpha1.ConditionStalled, circle != nil, reason, message)
	if unknown {
		s.failed(fmt.Errorf("%s: %s", reason, message)) // a kind may be known a little later than its definition
	}
	return true, nil
}

// missing says why a dependency is not there; empty: it is.
func (s *source) missing(view txn.View, n needed) string {
	if n.err != nil {
		return "(" + n.err.Error() + ")"
	}
	o, ok := view.Get(n.ref)
	if !ok {
		return "(does not exist)"
	}
	if other, ok := o.(*v1alpha1.GitSource); ok && n.Source != "" {
		st := &other.Status
		switch {
		case st.ObservedCommit == "":
			return "(has seen no commit yet)"
		case st.AppliedCommit != st.ObservedCommit:
			return fmt.Sprintf("(has not applied its newest commit %.12s)", st.ObservedCommit)
		case st.Health != v1alpha1.HealthHealthy:
			return "(is " + st.Health + ")"
		}
		return ""
	}
	gvk := schema.FromAPIVersionAndKind(n.APIVersion, n.Kind)
	if n.Ready == "" {
		state := s.checks.Of(&plan.Entry{Group: gvk.Group, Resource: n.ref.Resource.Resource, APIVersion: n.APIVersion, Kind: n.Kind,
			Namespace: n.Namespace, Name: n.Name}, o)
		if state.Health == v1alpha1.HealthHealthy {
			return ""
		}
		return fmt.Sprintf("(is %s)", state.Health)
	}
	program, err := objectcel.Compile(n.Ready)
	if err != nil {
		return "(" + err.Error() + ")" // the API server refuses such
	}
	body, err := content(o, gvk)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	if ready, err := program.Eval(body); err != nil || !ready {
		return fmt.Sprintf("(%s is not true)", n.Ready)
	}
	return ""
}

// circle is a way over dependencies from a source back to itself; nil: there is
// none.
func circle(view txn.View, name string) []string {
	seen := map[string]bool{}
	var from func(at string, way []string) []string
	from = func(at string, way []string) []string {
		way = append(way, at)
		o, _ := view.Get(txn.Ref{Resource: gitSources, Name: at})
		g, ok := o.(*v1alpha1.GitSource)
		if !ok || seen[at] {
			return nil
		}
		seen[at] = true
		for _, d := range g.Spec.DependsOn {
			if d.Source == name {
				return append(way, name)
			}
			if d.Source != "" {
				if found := from(d.Source, way[:len(way):len(way)]); found != nil {
					return found
				}
			}
		}
		return nil
	}
	return from(name, nil)
}
