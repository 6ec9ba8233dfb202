package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrEpoch says that a newer holder has taken over the epoch: the caller is no
// longer the leader and must stop.
var ErrEpoch = errors.New("the epoch is over: another holder has taken over")

// ConflictError says that keys which decided about a plan have changed since.
type ConflictError struct {
	// Refs are the changed keys as far as they are known.
	Refs []Ref
}

func (e *ConflictError) Error() string {
	names := make([]string, len(e.Refs))
	for i, r := range e.Refs {
		names[i] = r.String()
	}
	return "changed meanwhile: " + strings.Join(names, ", ")
}

// IsConflict tells whether err is a *ConflictError.
func IsConflict(err error) bool {
	var c *ConflictError
	return errors.As(err, &c)
}

// Err joins what is wrong with the outcomes, each with its origin and object;
// nil when all of them can be committed.
func (r *Result) Err() error {
	var errs []error
	for _, o := range r.Outcomes {
		if o.Err == nil {
			continue
		}
		if o.Change.Origin != "" {
			errs = append(errs, fmt.Errorf("%s: %s: %w", o.Change.Origin, o.Change.Ref, o.Err))
		} else {
			errs = append(errs, fmt.Errorf("%s: %w", o.Change.Ref, o.Err))
		}
	}
	return errors.Join(errs...)
}

// Rounds is how often Run plans again before it gives the conflict back.
const Rounds = 3

// Run views, plans and commits, and plans again on a newer View when it
// conflicts. It returns the plan's errors without writing anything. build gets
// the View and returns the changes; it may be called several times.
func Run(ctx context.Context, db Interface, identity Identity, options CommitOptions, build func(View) ([]Change, error)) (*Result, *Committed, error) {
	for round := 1; ; round++ {
		view, err := db.View(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("view: %w", err)
		}
		changes, err := build(view)
		if err != nil {
			return nil, nil, err
		}
		result, err := db.Plan(ctx, view, identity, changes)
		if err != nil {
			return nil, nil, fmt.Errorf("plan: %w", err)
		}
		if err := result.Err(); err != nil && !options.Independent {
			return result, nil, err
		}
		done, err := db.Commit(ctx, result, options)
		if err == nil || !IsConflict(err) || round == Rounds {
			return result, done, err
		}
	}
}
