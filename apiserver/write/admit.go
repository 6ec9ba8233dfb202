package write

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
)

// request is what the admission steps see.
func (a *attempt) request(operation Operation, o txn.Object) *Request {
	return &Request{
		Identity: a.identity, Operation: operation, Kind: a.kind.Stored(), Served: a.kind, Ref: a.change.Ref, Subresource: a.change.Subresource,
		Object: o, Old: a.old, FieldManager: a.change.FieldManager, DryRun: a.change.DryRun, Now: a.now, attempt: a,
	}
}

// Admit asks the steps that want to see everything about a request that writes
// no object of its own: a stream that is opened, an eviction, a request for a
// token. What is asked for (PodExecOptions, Eviction, TokenRequest) has its type filled in. Who may do it has been
// authorized before. Warnings and annotations come with an error too.
func (p *Path) Admit(ctx context.Context, identity txn.Identity, change txn.Change, operation Operation, asked runtime.Object) (Done, error) {
	if !slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Everything }) {
		return Done{}, nil
	}
	view, err := p.Store.View(ctx)
	if err != nil {
		return Done{}, unavailable(err)
	}
	a := &attempt{path: p, view: view, identity: identity, change: change, now: p.Clock.Now(), manner: manner{authorized: true, fresh: true}, only: true}
	if err := a.resolve(); err != nil {
		return Done{}, err
	}
	r := a.request(operation, nil)
	r.asked = asked
	if err = a.mutate(ctx, r); err == nil {
		err = a.validate(ctx, r)
	}
	done := Done{Operation: txn.Unchanged, Warnings: a.planned.outcome.Warnings, Told: a.planned.told, Revision: view.Revision()}
	if err != nil {
		return done, status(err)
	}
	return done, nil
}

// mutate runs the mutating steps, and once more those up to one that asks for
// it. The object may be another one afterwards: r has it.
func (a *attempt) mutate(ctx context.Context, r *Request) (err error) {
	if a.path.Meter != nil {
		begun := a.path.Clock.Now()
		a.stepped = begun
		defer func() { a.timed(false, r, begun, err) }()
	}
	for i := range a.path.Steps {
		if err := a.mutateBy(ctx, r, i); err != nil {
			return err
		}
		if !r.again {
			continue
		}
		r.Again = true
		for j := range i + 1 {
			if err := a.mutateBy(ctx, r, j); err != nil {
				return err
			}
		}
		r.Again, r.again = false, false
	}
	return nil
}

func (a *attempt) mutateBy(ctx context.Context, r *Request, step int) error {
	s := a.path.Steps[step]
	if s.Mutate == nil || a.skips(&s) {
		return nil
	}
	err := a.step(ctx, step, false, s.Mutate, r)
	if err != nil {
		a.collect(r)
	}
	return err
}

// skips tells whether a step has nothing to do with the request.
func (a *attempt) skips(s *Step) bool { return a.only && !s.Everything || a.admitted && s.Everything }

func (a *attempt) validate(ctx context.Context, r *Request) (err error) {
	if a.path.Meter != nil {
		begun := a.path.Clock.Now()
		a.stepped = begun
		defer func() { a.timed(true, r, begun, err) }()
	}
	defer a.collect(r)
	for i := range a.path.Steps {
		s := &a.path.Steps[i]
		if s.Validate == nil || a.skips(s) {
			continue
		}
		if err := a.step(ctx, i, true, s.Validate, r); err != nil {
			return err
		}
	}
	return nil
}

// step runs one of a step's functions, and has it timed, from the end of the
// one before it.
func (a *attempt) step(ctx context.Context, number int, validate bool, f func(context.Context, txn.View, *Request) error, r *Request) error {
	err := f(ctx, a.view, r)
	if a.path.Meter != nil && !errors.Is(err, errNotCurrent) {
		now := a.path.Clock.Now()
		a.path.Meter.Stepped(number, validate, r.Operation, err != nil, now.Sub(a.stepped))
		a.stepped = now
	}
	return err
}

// timed tells how long all steps took. An attempt that ends because its View is
// not current is made again, and counts then.
func (a *attempt) timed(validate bool, r *Request, begun time.Time, err error) {
	if !errors.Is(err, errNotCurrent) {
		a.path.Meter.Admitted(validate, r.Operation, err != nil, a.path.Clock.Now().Sub(begun))
	}
}

// gone lets the steps clean up behind an object that leaves the store.
func (a *attempt) gone(ctx context.Context) error {
	r := a.request(OperationDelete, nil)
	defer a.collect(r)
	for _, s := range a.path.Steps {
		if s.Gone == nil {
			continue
		}
		if err := s.Gone(ctx, a.view, r); err != nil {
			return err
		}
	}
	return nil
}

// collect takes over what the steps had to say.
func (a *attempt) collect(r *Request) {
	a.planned.decides = append(a.planned.decides, r.decides...)
	a.planned.extra = append(a.planned.extra, r.extra...)
	a.warn(r.warnings...)
	a.planned.told.Outside += r.outside
	if a.planned.told.Annotations == nil {
		a.planned.told.Annotations = r.annotations
	} else {
		maps.Copy(a.planned.told.Annotations, r.annotations)
	}
}
