package gitsource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/health"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/failpoint"
)

// A field that is corrected this often within the window is fought over:
// correcting stops until the next commit.
const (
	contestLimit  = 5
	contestWindow = 10 * time.Minute
)

// contest counts corrections of the same fields against the same writer.
type contest struct {
	times []time.Time
	told  bool
}

// correct puts back what somebody else has changed: those objects only, in one
// transaction, or one by one when the API server refuses some of them.
func (s *source) correct(ctx context.Context) error {
	if s.object.Spec.Drift.Policy == v1alpha1.DriftReport {
		clear(s.broken)
		return nil
	}
	if err := failpoint.Hit(ctx, "gitsource.drift.before"); err != nil {
		return err
	}
	var changes []txn.Change
	for _, ref := range slices.SortedFunc(maps.Keys(s.broken), txn.Ref.Compare) {
		if s.contest(ref, s.broken[ref].record) {
			delete(s.broken, ref)
			continue
		}
		change, err := s.restore(ref, s.broken[ref].before)
		if err != nil {
			return err
		}
		if change == nil {
			delete(s.broken, ref)
			continue
		}
		changes = append(changes, *change)
	}
	if len(changes) == 0 {
		return nil
	}
	notes, err := s.trim(ctx)
	if err != nil {
		return err
	}
	options := txn.CommitOptions{Epoch: s.engine.applier.Epoch, Notes: notes}
	result, done, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, options, func(txn.View) ([]txn.Change, error) { return changes, nil })
	if err != nil {
		if result != nil {
			s.stuck(result)
		}
		return fmt.Errorf("correct drift: %w", err)
	}
	for i, o := range result.Outcomes {
		e := s.inventory.Entries[o.Change.Ref]
		s.tracker.Set(o.Change.Ref, health.Of(&e, done.Objects[i]))
		delete(s.broken, o.Change.Ref)
	}
	s.fights = slices.DeleteFunc(s.fights, func(p v1alpha1.Problem) bool { return !strings.HasPrefix(p.Message, "is contended") })
	s.log.Info("drift corrected", "objects", len(changes))
	return nil
}

// stuck tells what cannot be put back for now.
func (s *source) stuck(result *txn.Result) {
	s.fights = nil
	for _, o := range result.Outcomes {
		if o.Err != nil && len(s.fights) < maxProblems {
			s.fights = append(s.fights, apply.Problem(o))
		}
	}
}

// restore is the change that puts an object back: to what git says, or, when
// the commit cannot be rendered (its repository is away), to what was there.
func (s *source) restore(ref txn.Ref, before txn.Object) (*txn.Change, error) {
	e, ours := s.inventory.Entries[ref]
	if !ours {
		return nil, nil
	}
	var body *unstructured.Unstructured
	if o, ok := s.desired[ref]; ok {
		body = o.Body.DeepCopy()
	} else if before != nil {
		part, err := drift.Extract(plan.Manager(s.name), before)
		if err != nil || part == nil {
			return nil, err
		}
		body = &unstructured.Unstructured{Object: part}
		body.SetAPIVersion(e.APIVersion)
		body.SetKind(e.Kind)
		body.SetName(e.Name)
	} else {
		return nil, nil
	}
	if ref.Namespace != "" {
		body.SetNamespace(ref.Namespace)
	}
	return &txn.Change{
		Verb: txn.Apply, Ref: ref, Version: schema.FromAPIVersionAndKind(e.APIVersion, "").Version, Object: body,
		FieldManager: plan.Manager(s.name), Force: true, Origin: e.Origin,
	}, nil
}

// contest counts a correction of a changed field and tells whether it is
// fought over. Deletions are put back however often they happen.
func (s *source) contest(ref txn.Ref, r *drift.Record) bool {
	if r == nil || r.Deleted {
		return false
	}
	key := r.Object + " " + r.User
	for _, f := range r.Fields {
		key += " " + f.Path
	}
	c := s.contended[key]
	if c == nil {
		c = &contest{}
		s.contended[key] = c
	}
	now := s.now()
	c.times = slices.DeleteFunc(c.times, func(t time.Time) bool { return now.Sub(t) > contestWindow })
	if len(c.times) < contestLimit {
		c.times, c.told = append(c.times, now), false
		return false
	}
	if !c.told {
		c.told = true
		file, line := v1alpha1.ParseOrigin(s.inventory.Entries[ref].Origin)
		s.fights = append(s.fights, v1alpha1.Problem{File: file, Line: line, Object: ref.String(), Message: fmt.Sprintf(
			"is contended: %s and this source have overwritten each other's %s %d times within %s; it is left as it is until the next commit",
			r.Who(), r.Fields[0].Path, contestLimit, contestWindow)})
	}
	return true
}

// trim keeps the number of records bounded, here and in the notes.
func (s *source) trim(ctx context.Context) ([]txn.Note, error) {
	if len(s.records) <= drift.Keep {
		return nil, nil
	}
	s.records = slices.Delete(s.records, 0, len(s.records)-drift.Keep)
	stored, err := s.engine.cfg.Txn.Notes(ctx, drift.Prefix+s.name+"/")
	if err != nil {
		return nil, fmt.Errorf("trim drift records: %w", err)
	}
	var notes []txn.Note
	for _, n := range stored[:max(0, len(stored)-drift.Keep)] {
		if strings.HasPrefix(n.Key, drift.Prefix) {
			notes = append(notes, txn.Note{Key: n.Key})
		}
	}
	return notes, nil
}
