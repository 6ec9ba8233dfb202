// Package health says how the objects of an inventory are: by kstatus' rules,
// on the objects as the write path shows them, without asking anybody.
package health

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// State is how one object is.
type State struct {
	// Health is one of the v1alpha1.Health words.
	Health  string
	Message string
}

// Of judges one object by kstatus' rules; nil says that it is missing.
func (j *Judge) Of(e *plan.Entry, o txn.Object) State {
	if o == nil {
		return State{v1alpha1.HealthProgressing, "is missing"}
	}
	if j.Static(e) && o.GetDeletionTimestamp() == nil {
		return State{Health: v1alpha1.HealthHealthy}
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return State{v1alpha1.HealthUnknown, err.Error()}
	}
	content = maps.Clone(content) // that of a custom resource is the shared object's own
	u := &unstructured.Unstructured{Object: content}
	u.SetAPIVersion(e.APIVersion)
	u.SetKind(e.Kind)
	if c, ok := j.checks[kindOf(e)]; ok && o.GetDeletionTimestamp() == nil {
		return c.judge(content)
	}
	if e.Group == "batch" && e.Kind == "Job" {
		return finished(u)
	}
	return byConvention(u)
}

// finished judges a Job, which is there to come to an end: kstatus is content
// with one that has begun.
func finished(u *unstructured.Unstructured) State {
	state := byConvention(u)
	if state.Health != v1alpha1.HealthHealthy {
		return state
	}
	if suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend"); suspended {
		return state
	}
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Complete" && m["status"] == "True" {
			return state
		}
	}
	return State{v1alpha1.HealthProgressing, "is not complete"}
}

func byConvention(u *unstructured.Unstructured) State {
	result, err := status.Compute(u)
	if err != nil {
		return State{v1alpha1.HealthUnknown, err.Error()}
	}
	switch result.Status {
	case status.CurrentStatus:
		return State{Health: v1alpha1.HealthHealthy}
	case status.InProgressStatus:
		return State{v1alpha1.HealthProgressing, result.Message}
	case status.TerminatingStatus:
		return State{v1alpha1.HealthProgressing, "is being deleted"}
	case status.FailedStatus:
		return State{v1alpha1.HealthDegraded, result.Message}
	}
	return State{v1alpha1.HealthUnknown, result.Message}
}

// Static tells whether objects of the kind are healthy as soon as they exist.
func (j *Judge) Static(e *plan.Entry) bool {
	if _, ok := j.checks[kindOf(e)]; ok {
		return false
	}
	switch e.Group {
	case "":
		return slices.Contains([]string{"ConfigMap", "Secret", "ServiceAccount", "LimitRange", "Endpoints"}, e.Kind)
	case "rbac.authorization.k8s.io":
		return true
	}
	return false
}

// Tracker keeps the state of every object that is not healthy.
type Tracker struct{ sick map[txn.Ref]State }

// NewTracker judges all objects of an inventory.
func NewTracker(j *Judge, i *plan.Inventory, v txn.View) *Tracker {
	t := &Tracker{sick: map[txn.Ref]State{}}
	for ref, e := range i.Entries {
		if e.Left {
			continue
		}
		o, _ := v.Get(ref)
		t.Set(ref, j.Of(&e, o))
	}
	return t
}

// Sick are the objects that are not healthy.
func (t *Tracker) Sick() []txn.Ref {
	return slices.SortedFunc(maps.Keys(t.sick), func(a, b txn.Ref) int {
		return cmp.Or(cmp.Compare(t.sick[a].Health, t.sick[b].Health), a.Compare(b))
	})
}

// Of is how an object of the inventory is.
func (t *Tracker) Of(ref txn.Ref) State {
	if s, ok := t.sick[ref]; ok {
		return s
	}
	return State{Health: v1alpha1.HealthHealthy}
}

// Set notes an object's state.
func (t *Tracker) Set(ref txn.Ref, s State) {
	if s.Health == v1alpha1.HealthHealthy {
		delete(t.sick, ref)
		return
	}
	t.sick[ref] = s
}

// Keep forgets what is no longer in the inventory.
func (t *Tracker) Keep(i *plan.Inventory) {
	for ref := range t.sick {
		if _, ok := i.Entries[ref]; !ok {
			delete(t.sick, ref)
		}
	}
}

// Health is that of the whole: Degraded if any object is, else Progressing if
// any is not yet healthy.
func (t *Tracker) Health() string {
	health := v1alpha1.HealthHealthy
	for _, s := range t.sick {
		if s.Health == v1alpha1.HealthDegraded {
			return s.Health
		}
		health = v1alpha1.HealthProgressing
	}
	return health
}

// Problems names up to n objects that are not healthy.
func (t *Tracker) Problems(i *plan.Inventory, n int) []v1alpha1.Problem {
	return t.ProblemsOf(i, t.Sick(), n)
}

// ProblemsOf names up to n of those objects that are not healthy.
func (t *Tracker) ProblemsOf(i *plan.Inventory, refs []txn.Ref, n int) []v1alpha1.Problem {
	var out []v1alpha1.Problem
	for _, ref := range refs {
		s, sick := t.sick[ref]
		if !sick || len(out) == n {
			continue
		}
		file, line := v1alpha1.ParseOrigin(i.Entries[ref].Origin)
		out = append(out, v1alpha1.Problem{File: file, Line: line, Object: ref.String(), Message: fmt.Sprintf("%s: %s", s.Health, s.Message)})
	}
	return out
}
