package drift

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

// Inventories tells which source has an object, and what that source says of
// changes.
type Inventories interface {
	Lookup(txn.Ref) (source string, e plan.Entry, ok bool)
	Rules(source string) *Rules
}

// Guard stores a record along with every write that is drift, warns whoever
// writes, and refuses what the source's rules deny.
type Guard struct {
	// Self is the engine's own name, whose writes are no drift.
	Self        string
	Inventories Inventories
	Clock       clock.PassiveClock
}

var _ txn.Guard = (*Guard)(nil)

// Check implements txn.Guard.
func (g *Guard) Check(_ context.Context, view txn.View, identity txn.Identity, planned txn.Outcome) (txn.Verdict, error) {
	if identity.Name == g.Self || identity.Impersonator == g.Self || planned.Change.Subresource == "status" {
		return txn.Verdict{}, nil
	}
	source, e, ok := g.Inventories.Lookup(planned.Change.Ref)
	if !ok {
		return txn.Verdict{}, nil
	}
	f := Look(source, g.Inventories.Rules(source), &e, txn.Write{
		Identity: identity, Ref: planned.Change.Ref, FieldManager: planned.Change.FieldManager, Before: planned.Before, After: planned.After, Time: g.Clock.Now(),
	}, func() bool { return Scaled(view, &e) })
	if f == nil {
		return txn.Verdict{}, nil
	}
	own := Component(identity.Name)
	if f.Policy == v1alpha1.DriftDeny && !own {
		return txn.Verdict{}, refusal(planned.Change.Ref, f.Record)
	}
	note, err := f.Record.Note(source)
	if err != nil {
		return txn.Verdict{}, err
	}
	verdict := txn.Verdict{Notes: []txn.Note{note}}
	if !own && f.Policy != v1alpha1.DriftReport {
		verdict.Warnings = []string{warning(f)}
	}
	return verdict, nil
}

// Component tells the cluster's own writers, which act on behalf of what
// people have asked for elsewhere: a garbage collector that is refused only
// tries again.
func Component(user string) bool {
	for _, prefix := range []string{"system:serviceaccount:kube-system:", "system:kube-", "system:node:", "system:apiserver"} {
		if strings.HasPrefix(user, prefix) {
			return true
		}
	}
	return false
}

// what names the changed fields and where they are written down.
func what(r *Record) string {
	where := "git"
	if r.Origin != "" {
		where = r.Origin + " in git"
	}
	if r.Deleted {
		return "the object is kept by " + where
	}
	names := make([]string, min(3, len(r.Fields)))
	for i := range names {
		names[i] = r.Fields[i].Path
	}
	more := ""
	if n := len(r.Fields) - len(names); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("%s%s: kept by %s", strings.Join(names, ", "), more, where)
}

func warning(f *Finding) string {
	if f.Correct {
		return what(f.Record) + "; the change is put back. Change it there"
	}
	return what(f.Record) + "; the next commit may overwrite the change"
}

func refusal(ref txn.Ref, r *Record) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("%s %q is forbidden: %s; change it there", ref.Resource, ref.Name, what(r)),
		Details: &metav1.StatusDetails{Group: ref.Resource.Group, Kind: ref.Resource.Resource, Name: ref.Name},
	}}
}
