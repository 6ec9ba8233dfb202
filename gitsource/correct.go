package gitsource

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/failpoint"
)

// A field that is corrected this often within the window is fought over:
// correcting stops until the next commit.
const (
	contestLimit  = 5
	contestWindow = 10 * time.Minute
)

// contended begins what is said of a field that is fought over.
const contended = "is contended"

func isContended(p v1alpha1.Problem) bool { return strings.HasPrefix(p.Message, contended) }

// contest counts corrections of the same fields against the same writer.
type contest struct {
	times []time.Time
	told  bool
}

// correct puts back what somebody else has changed: those objects only, in one
// transaction, or one by one when the API server refuses some of them.
func (s *source) correct(ctx context.Context) error {
	if err := failpoint.Hit(ctx, "gitsource.drift.before"); err != nil {
		return err
	}
	changes, err := s.repairs(ctx)
	if err != nil || len(changes) == 0 {
		return err
	}
	notes, err := s.trim(ctx)
	if err != nil {
		return err
	}
	refused := s.repair(ctx, changes, notes)
	var r *apply.Refused
	if errors.As(refused, &r) {
		// What the API server refuses must not keep the rest from being put back.
		changes = slices.DeleteFunc(changes, func(c txn.Change) bool {
			return slices.ContainsFunc(r.Problems, func(p v1alpha1.Problem) bool { return p.Object == c.Ref.String() })
		})
		s.fights = append(slices.DeleteFunc(s.fights, func(p v1alpha1.Problem) bool { return !isContended(p) }), r.Problems[:min(len(r.Problems), maxProblems)]...)
		if len(changes) > 0 {
			if err := s.repair(ctx, changes, notes); err != nil {
				return fmt.Errorf("correct drift: %w", err)
			}
		}
	}
	if refused != nil {
		return fmt.Errorf("correct drift: %w", refused)
	}
	s.fights = slices.DeleteFunc(s.fights, func(p v1alpha1.Problem) bool { return !isContended(p) })
	s.log.Info("drift corrected", "objects", len(changes))
	return nil
}

// repairs are the changes that put back what is broken, in the order of
// creation; what is fought over or no longer ours is forgotten.
func (s *source) repairs(ctx context.Context) ([]txn.Change, error) {
	refs := slices.SortedFunc(maps.Keys(s.broken), func(a, b txn.Ref) int {
		return plan.Compare(s.inventory.Entries[a], s.inventory.Entries[b])
	})
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	var changes []txn.Change
	for _, ref := range refs {
		if file, _ := v1alpha1.ParseOrigin(s.inventory.Entries[ref].Origin); s.leavesDrift(file) {
			continue
		}
		b := s.broken[ref]
		var change *txn.Change
		if !s.contest(ref, b.record) {
			var err error
			if change, err = s.restore(view, ref, b.before); err != nil {
				return nil, err
			}
		}
		if change == nil {
			delete(s.broken, ref)
			continue
		}
		// A try that fails is not another fight.
		b.record = nil
		s.broken[ref] = b
		changes = append(changes, *change)
	}
	return changes, nil
}

// repair writes repairs in one transaction. It returns *apply.Refused when the
// API server refuses some of them.
func (s *source) repair(ctx context.Context, changes []txn.Change, notes []txn.Note) error {
	options := txn.CommitOptions{Epoch: s.engine.applier.Epoch, Notes: notes}
	result, done, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, options, func(view txn.View) ([]txn.Change, error) {
		return slices.DeleteFunc(slices.Clone(changes), func(c txn.Change) bool { return s.moving(view, c.Ref) }), nil
	})
	if err != nil {
		r := &apply.Refused{}
		if result != nil {
			for _, o := range result.Outcomes {
				if o.Err != nil {
					r.Problems = append(r.Problems, apply.Problems(o, nil, nil)...)
				}
			}
		}
		if len(r.Problems) > 0 {
			return r
		}
		return err
	}
	for i, o := range result.Outcomes {
		e := s.inventory.Entries[o.Change.Ref]
		s.tracker.Set(o.Change.Ref, s.checks.Of(&e, done.Objects[i]))
		delete(s.broken, o.Change.Ref)
	}
	return nil
}

// restore is the change that puts an object back: to what git says, or, when
// the commit cannot be rendered (its repository is away), to what was there.
func (s *source) restore(view txn.View, ref txn.Ref, before txn.Object) (*txn.Change, error) {
	e, ours := s.inventory.Entries[ref]
	if !ours || e.Going() || e.Left {
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
	if live, ok := view.Get(ref); ok {
		if s.moving(view, ref) {
			return nil, nil
		}
		if err := s.leaving(false)(view, &e, body, live); err != nil {
			return nil, err
		}
	}
	return &txn.Change{
		Verb: txn.Apply, Ref: ref, Version: schema.FromAPIVersionAndKind(e.APIVersion, "").Version, Object: body,
		FieldManager: plan.Manager(s.name), Force: true, Origin: e.Origin, As: s.as(&e),
	}, nil
}

// leaving gives the function that gives a desired object the live values of
// what is left to others: replicas that are scaled and fields that are allowed
// to change, and between commits also those whose drift is only reported.
func (s *source) leaving(commit bool) func(txn.View, *plan.Entry, *unstructured.Unstructured, txn.Object) error {
	rules, now := s.rules, s.now()
	return func(view txn.View, e *plan.Entry, desired *unstructured.Unstructured, live txn.Object) error {
		_, replicated, _ := unstructured.NestedFieldNoCopy(desired.Object, "spec", "replicas")
		scaled := replicated && drift.Scaled(view, e)
		if !scaled && !rules.Lenient(e, commit, now) {
			return nil
		}
		return drift.TakeLive(desired.Object, live, func(path string) bool {
			switch rules.For(e, path, now) {
			case v1alpha1.DriftAllow:
				return true
			case v1alpha1.DriftReport, v1alpha1.DriftWarn:
				return !commit
			}
			return scaled && drift.IsReplicas(path)
		})
	}
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
		fight := v1alpha1.Problem{File: file, Line: line, Object: ref.String(), Message: fmt.Sprintf(
			contended+": %s and this source have overwritten each other's %s %d times within %s; it is left as it is until the next commit",
			r.Who(), r.Fields[0].Path, contestLimit, contestWindow)}
		s.fights = append(s.fights, fight)
		s.engine.cfg.Events(s.object, corev1.EventTypeWarning, string(v1alpha1.NotifyContended), fight.String())
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
