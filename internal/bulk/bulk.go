// Package bulk creates many objects in few transactions. Each object stands on
// its own conditions all the same: those that are refused do not keep the others
// from being made.
package bulk

import (
	"context"
	"fmt"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/txn"
)

const (
	// most is how many objects one transaction makes, and heaviest how many
	// bytes of protobuf: half of what the largest stage of a commit has.
	most     = 500
	heaviest = 4 << 20
)

// Writer creates objects as one identity.
type Writer struct {
	// Client knows the kinds, and creates one by one.
	Client client.Client
	// DB writes many at once, as the identity that it belongs to; nil: nobody
	// does, and the Client creates them side by side.
	DB txn.Interface
}

// Create makes the objects, which stay as they are, and gives by index what is
// stored (shared: it must not be changed) or why there is nothing. An error that
// is no API status leaves open whether the object was made.
func (w Writer) Create(ctx context.Context, objects []client.Object) ([]client.Object, []error) {
	stored, errs := make([]client.Object, len(objects)), make([]error, len(objects))
	if w.DB == nil || len(objects) == 1 {
		w.each(ctx, objects, stored, errs)
		return stored, errs
	}
	for from := 0; from < len(objects); {
		to := from + fits(objects[from:])
		w.together(ctx, objects[from:to], stored[from:to], errs[from:to])
		from = to
	}
	return stored, errs
}

// fits is how many of the objects go into one transaction, at least one.
func fits(objects []client.Object) int {
	weight := 0
	for i, o := range objects[:min(len(objects), most)] {
		if sized, ok := o.(interface{ Size() int }); ok {
			weight += sized.Size()
		}
		if weight > heaviest && i > 0 {
			return i
		}
	}
	return min(len(objects), most)
}

// each has the client create them.
func (w Writer) each(ctx context.Context, objects, stored []client.Object, errs []error) {
	var running sync.WaitGroup
	for i, o := range objects {
		running.Go(func() {
			o := o.DeepCopyObject().(client.Object)
			if errs[i] = w.Client.Create(ctx, o); errs[i] == nil {
				stored[i] = o
			}
		})
	}
	running.Wait()
}

// together creates in one transaction. What its plan refuses is left out of the
// next try; what is then still not written is created one by one.
func (w Writer) together(ctx context.Context, objects, stored []client.Object, errs []error) {
	changes := make([]txn.Change, len(objects))
	var open []int
	for i, o := range objects {
		if changes[i], errs[i] = w.change(o); errs[i] == nil {
			open = append(open, i)
		}
	}
	for try := 0; len(open) > 0; try++ {
		plan, done, err := txn.Run(ctx, w.DB, txn.Identity{}, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) { return pick(changes, open), nil })
		switch {
		case err == nil:
			for n, i := range open {
				stored[i] = done.Objects[n]
			}
			return
		case plan != nil && plan.Err() != nil:
			open = refused(plan.Outcomes, open, errs)
			if try < txn.Rounds {
				continue
			}
		case !txn.IsConflict(err):
			for _, i := range open {
				errs[i] = err
			}
			return
		}
		made, failed := make([]client.Object, len(open)), make([]error, len(open))
		w.each(ctx, pick(objects, open), made, failed)
		for n, i := range open {
			stored[i], errs[i] = made[n], failed[n]
		}
		return
	}
}

// refused keeps the errors of a plan and gives those of open that have none.
func refused(outcomes []txn.Outcome, open []int, errs []error) (passed []int) {
	for n, i := range open {
		if errs[i] = outcomes[n].Err; errs[i] == nil {
			passed = append(passed, i)
		}
	}
	return passed
}

func pick[T any](all []T, which []int) []T {
	some := make([]T, len(which))
	for n, i := range which {
		some[n] = all[i]
	}
	return some
}

func (w Writer) change(o client.Object) (txn.Change, error) {
	gvk, err := w.Client.GroupVersionKindFor(o)
	if err != nil {
		return txn.Change{}, fmt.Errorf("create: %w", err)
	}
	mapping, err := w.Client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return txn.Change{}, fmt.Errorf("create: %w", err)
	}
	ref := txn.Ref{Resource: mapping.Resource.GroupResource(), Namespace: o.GetNamespace(), Name: o.GetName()}
	return txn.Change{Verb: txn.Create, Version: gvk.Version, Ref: ref, Object: o}, nil
}
