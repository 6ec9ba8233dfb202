package gitsource

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/rendered"
	"github.com/headway-sh/headway/internal/failpoint"
)

// leaves tells whether the source is an environment that is to go. One whose
// parent is gone sees to that itself.
func (s *source) leaves(ctx context.Context) (bool, error) {
	e := s.object.Spec.Environment
	if e == nil {
		return false, nil
	}
	if s.object.DeletionTimestamp != nil {
		return slices.Contains(s.object.Finalizers, v1alpha1.FinalizerEnvironment), nil
	}
	orphan := false
	self := txn.Ref{Resource: gitSources, Name: s.name}
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return false, fmt.Errorf("view: %w", err)
	}
	if _, ok := view.Get(txn.Ref{Resource: gitSources, Name: e.Source}); ok {
		return false, nil
	}
	_, _, err = txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, txn.CommitOptions{Epoch: s.engine.applier.Epoch}, func(view txn.View) ([]txn.Change, error) {
		_, parent := view.Get(txn.Ref{Resource: gitSources, Name: e.Source})
		o, ok := view.Get(self)
		if orphan = !parent && ok; !orphan || o.GetDeletionTimestamp() != nil {
			return nil, nil
		}
		return []txn.Change{{Verb: txn.Delete, Ref: self}}, nil
	})
	if err != nil {
		return false, fmt.Errorf("end the environment of %s, which is gone: %w", e.Source, err)
	}
	return false, nil
}

// leave deletes an environment: what git has made of it, then its namespace and
// every record, and last the source itself.
func (s *source) leave(ctx context.Context) error {
	for len(s.inventory.Entries) > 0 {
		if err := s.deleteSome(ctx); err != nil {
			return err
		}
	}
	if err := failpoint.Hit(ctx, "gitsource.environment.before"); err != nil {
		return err
	}
	e := s.engine
	var notes []txn.Note
	for _, prefix := range []string{plan.Prefix + s.name + "/", drift.Prefix + s.name + "/", approvalNotes + s.name + "/"} {
		stored, err := e.cfg.Txn.Notes(ctx, prefix)
		if err != nil {
			return fmt.Errorf("read notes of %s: %w", s.name, err)
		}
		for _, n := range stored {
			notes = append(notes, txn.Note{Key: n.Key})
		}
	}
	options := txn.CommitOptions{Epoch: e.applier.Epoch, Notes: notes}
	_, _, err := txn.Run(ctx, e.cfg.Txn, e.cfg.Identity, options, func(view txn.View) ([]txn.Change, error) { return s.lastChanges(view), nil })
	if err != nil {
		return fmt.Errorf("end the environment %s: %w", s.name, err)
	}
	if err := e.rendered.Prune(s.name, func(int, rendered.Info) bool { return false }); err != nil {
		s.log.Warn("rendered commits of an environment stay", "error", err)
	}
	return nil
}

// deleteSome deletes as many objects as one transaction may.
func (s *source) deleteSome(ctx context.Context) error {
	if err := failpoint.Hit(ctx, "gitsource.environment.before"); err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	next := &plan.Inventory{Head: s.inventory.Head, Entries: maps.Clone(s.inventory.Entries)}
	refs := slices.SortedFunc(maps.Keys(next.Entries), txn.Ref.Compare)
	refs = refs[:min(len(refs), plan.MaxStageObjects)]
	for _, ref := range refs {
		delete(next.Entries, ref)
	}
	options := txn.CommitOptions{Epoch: s.engine.applier.Epoch, Notes: next.Notes(s.name, s.inventory)}
	_, _, err := txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, options, func(view txn.View) ([]txn.Change, error) {
		var changes []txn.Change
		for _, ref := range refs {
			if o, ok := view.Get(ref); ok && o.GetDeletionTimestamp() == nil && !s.inventory.Entries[ref].Left {
				changes = append(changes, txn.Change{Verb: txn.Delete, Ref: ref, Propagation: &background, FieldManager: plan.Manager(s.name)})
			}
		}
		return changes, nil
	})
	if err != nil {
		return fmt.Errorf("delete the objects of the environment %s: %w", s.name, err)
	}
	s.engine.owners.replace(s.name, s.inventory, next)
	s.inventory = next
	return nil
}

func (s *source) lastChanges(view txn.View) []txn.Change {
	var changes []txn.Change
	space := txn.Ref{Resource: namespaces, Name: s.object.Spec.TargetNamespace}
	if o, ok := view.Get(space); ok && o.GetLabels()[v1alpha1.LabelEnvironmentOf] == s.object.Spec.Environment.Source && o.GetDeletionTimestamp() == nil {
		changes = append(changes, txn.Change{Verb: txn.Delete, Ref: space})
	}
	for o := range view.Each(releases, "") {
		if r, ok := o.(*v1alpha1.Release); ok && r.Spec.Source == s.name {
			changes = append(changes, txn.Change{Verb: txn.Delete, Ref: txn.Ref{Resource: releases, Name: r.Name}})
		}
	}
	self := txn.Ref{Resource: gitSources, Name: s.name}
	o, ok := view.Get(self)
	if !ok {
		return changes
	}
	freed := o.(*v1alpha1.GitSource).DeepCopy()
	freed.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "GitSource"}
	freed.Finalizers = slices.DeleteFunc(freed.Finalizers, func(f string) bool { return f == v1alpha1.FinalizerEnvironment })
	if equality.Semantic.DeepEqual(freed.Finalizers, o.GetFinalizers()) {
		return changes
	}
	return append(changes, s.write(txn.Update, self, "", freed))
}
