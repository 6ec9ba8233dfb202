package write

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// rounds is how often a single write is planned again after a conflict that
// the writer did not ask to be told about.
const rounds = 64

// Options say how a single change is made.
type Options struct {
	// DryRun goes all the way but does not write.
	DryRun bool
	// Epoch, when not zero, is compared in the transaction.
	Epoch txn.Epoch
}

// Done is what became of a single change.
type Done struct {
	Operation txn.Operation
	// Object is the shared, immutable state after the change; the last state
	// of an object that is gone. A dry run's has no new resourceVersion.
	Object txn.Object
	// Entry is the stored entry of Object; nil for dry runs and where nothing
	// was written or the object is gone.
	Entry    *store.Entry
	Warnings []string
	// Told comes with an error too.
	Told
	// Revision of the write; the View's when nothing was written.
	Revision int64
}

// Told is what a change has to tell the audit.
type Told struct {
	// Kind is the row of the version that it is written in; nil: there is none.
	Kind *kind.Kind
	// By is who it was made as.
	By txn.Identity
	// Annotations are admission's.
	Annotations map[string]string
	// Reason is why the change was allowed; empty when that needs none.
	Reason string
	// Outside is how long somebody outside took to answer.
	Outside time.Duration
}

// Do makes one change. Errors are API statuses. Warnings come with an error
// too.
func (p *Path) Do(ctx context.Context, identity txn.Identity, change txn.Change, options Options) (Done, error) {
	return p.do(ctx, identity, change, options, manner{})
}

func (p *Path) do(ctx context.Context, identity txn.Identity, change txn.Change, options Options, how manner) (Done, error) {
	change.DryRun = change.DryRun || options.DryRun
	options.DryRun = change.DryRun
	view, current := p.Store.Latest(), false
	leave := func() {}
	defer func() { leave() }()
	for round, queued := 1, false; ; round++ {
		how.fresh = current
		one := p.plan(ctx, view, identity, change, how)
		if !current && (one.outcome.Err != nil || one.outcome.Operation == txn.Unchanged || options.DryRun) {
			// The answer rests on this View alone: make sure it is current.
			newest, err := p.Store.View(ctx)
			if err != nil {
				return Done{}, unavailable(err)
			}
			if current = true; newest.Revision() != view.Revision() || errors.Is(one.outcome.Err, errNotCurrent) {
				view = newest
				continue
			}
		}
		done := Done{Operation: one.outcome.Operation, Object: one.outcome.After, Warnings: one.outcome.Warnings,
			Told: one.told, Revision: view.Revision()}
		if one.outcome.Err != nil {
			return done, one.outcome.Err
		}
		if done.Object == nil {
			done.Object = one.outcome.Before
		}
		if options.DryRun || one.outcome.Operation == txn.Unchanged {
			return done, nil
		}
		if shared := one.shares(); len(shared) > 0 && !queued && !one.slow {
			var waited bool
			var err error
			queued = true
			if waited, leave, err = p.turns.wait(ctx, shared); err != nil {
				return Done{}, unavailable(err)
			}
			if waited {
				view, current = p.Store.Latest(), false
				continue
			}
		}
		err := p.write(ctx, view, one, options.Epoch, &done)
		switch {
		case err == nil:
			return done, nil
		case errors.Is(err, txn.ErrEpoch):
			return Done{}, err
		case !txn.IsConflict(err):
			return Done{}, unavailable(err)
		case round == rounds:
			return Done{}, apierrors.NewConflict(change.Ref.Resource, change.Ref.Name, errModified)
		}
		if view, err = p.Store.View(ctx); err != nil {
			return Done{}, unavailable(err)
		}
		current = true
	}
}

func (p *Path) write(ctx context.Context, view txn.View, one planned, epoch txn.Epoch, done *Done) error {
	all := []planned{one}
	b, err := newBatch(&sealed{base: view, planned: all, compares: compares(view, all)}, txn.CommitOptions{Epoch: epoch})
	if err != nil {
		return err
	}
	if err := p.attach(ctx, all); err != nil {
		return err
	}
	stored, err := p.transact(ctx, b.txn, b.changes)
	if err != nil {
		return err
	}
	done.Revision = stored.Revision
	if e := stored.Entries[b.writeOf[0]]; e != nil {
		done.Entry, done.Object = e, e.Object
	}
	return nil
}

// unavailable words an error of the store for clients.
func unavailable(err error) error {
	switch {
	case errors.As(err, new(apierrors.APIStatus)):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("the store did not answer in time", 1)
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, store.ErrStorageFull):
		full := apierrors.NewInternalError(err)
		full.ErrStatus.Code, full.ErrStatus.Message = http.StatusInsufficientStorage, "the cluster's storage is full: delete what is not needed"
		return full
	}
	if _, limit := store.IsLimit(err); limit {
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	}
	return apierrors.NewInternalError(fmt.Errorf("write to the store: %w", err))
}

// Collection says which objects DeleteCollection deletes.
type Collection struct {
	Resource  schema.GroupResource
	Version   string
	Namespace string
	// Labels and Fields select; nil selects everything.
	Labels labels.Selector
	Fields fields.Selector
	// Delete has the options of every single deletion (Preconditions,
	// Propagation, GracePeriod, FieldManager).
	Delete txn.Change
}

// DeleteCollection deletes what is selected, one object after the other, as
// Kubernetes does. It gives the objects' last states.
func (p *Path) DeleteCollection(ctx context.Context, identity txn.Identity, c Collection, options Options) ([]txn.Object, []string, error) {
	view, err := p.Store.View(ctx)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	k := p.row(view, c.Resource, c.Version)
	if k == nil {
		return nil, nil, apierrors.NewNotFound(c.Resource, "")
	}
	err = Authorize(p.Authorizer, view, identity, Attributes{Verb: "deletecollection", Resource: c.Resource, Version: c.Version, Namespace: c.Namespace})
	if err != nil {
		return nil, nil, err
	}
	var deleted []txn.Object
	var warnings []string
	for o := range view.Each(k.Resource(), c.Namespace) {
		if !Selects(k, o, c.Labels, c.Fields) {
			continue
		}
		change := c.Delete
		change.Verb, change.Version = txn.Delete, c.Version
		change.Ref = txn.Ref{Resource: c.Resource, Namespace: o.GetNamespace(), Name: o.GetName()}
		done, err := p.do(ctx, identity, change, options, manner{authorized: true})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return deleted, warnings, err
		}
		deleted, warnings = append(deleted, done.Object), append(warnings, done.Warnings...)
	}
	return deleted, warnings, nil
}

// Selects tells whether selectors match an object of a kind. Nil selectors
// match everything.
func Selects(k *kind.Kind, o txn.Object, byLabels labels.Selector, byFields fields.Selector) bool {
	if byLabels != nil && !byLabels.Empty() && !byLabels.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	return byFields == nil || byFields.Empty() || byFields.Matches(selectable{k, o})
}

// selectable computes only the fields that a selector asks for.
type selectable struct {
	kind   *kind.Kind
	object txn.Object
}

var _ fields.Fields = selectable{}

func (s selectable) Has(field string) bool {
	switch field {
	case "metadata.name", "metadata.namespace":
		return true
	}
	return s.kind.Fields[field] != nil || s.kind.Indexes[field] != nil
}

func (s selectable) Get(field string) string {
	switch field {
	case "metadata.name":
		return s.object.GetName()
	case "metadata.namespace":
		return s.object.GetNamespace()
	}
	if f := s.kind.Fields[field]; f != nil {
		return f(s.object)
	}
	if f := s.kind.Indexes[field]; f != nil { // one that is asked for like a field has one value at most
		if values := f(s.object); len(values) > 0 {
			return values[0]
		}
	}
	return ""
}
