package gitsource

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/gitsource/report"
)

// reporter writes a source's reports beside its goroutine, so that a slow disk
// or remote holds nothing up. What is final goes out at once; the rest at
// most every report.Interval.
type reporter struct {
	source *source
	wake   chan struct{}
	// reverts is read by run; a source has at most one under way.
	reverts chan revert

	mu    sync.Mutex // guards all below
	next  *outgoing
	shown report.Source // the newest that was handed over
	on    *report.Branch
	at    report.Place // of on
}

// outgoing is a report to be written.
type outgoing struct {
	state  report.Source
	place  report.Place
	branch *report.Branch
	outlet *outlet
	urgent bool
	// left are the branches that the source is to go from.
	left []*report.Branch
}

func newReporter(s *source) *reporter {
	return &reporter{source: s, wake: make(chan struct{}, 1), reverts: make(chan revert, 1)}
}

// publish hands over the source's state if it says anything new. It is called
// by the source's goroutine and does not block.
func (r *reporter) publish(ctx context.Context, s *source) {
	if s.object.Spec.Reports.Disabled || s.follower == nil || s.follower.repo == nil || s.status.ObservedCommit == "" {
		return
	}
	o := s.outletNow(ctx)
	if o.place.Repo == nil {
		return // the condition says why
	}
	state := s.report()
	r.mu.Lock()
	defer r.mu.Unlock()
	branch := s.engine.branch(o.url, s.reportBranch())
	if reflect.DeepEqual(state, r.shown) && r.on == branch {
		return
	}
	final := state.Phase != string(v1alpha1.ReleaseProgressing) && state.Phase != string(v1alpha1.ReleaseApplying)
	urgent := final || r.next != nil && r.next.urgent || len(state.Drift) > 0 && !reflect.DeepEqual(state.Drift, r.shown.Drift) ||
		!reflect.DeepEqual(state.Plans, r.shown.Plans) || !reflect.DeepEqual(state.Environments, r.shown.Environments) // somebody waits for it
	r.shown = state
	var left []*report.Branch
	if r.next != nil {
		left = r.next.left
	}
	if r.on != nil && r.on != branch {
		left = append(left, r.on)
	}
	left = slices.DeleteFunc(left, func(b *report.Branch) bool { return b == branch })
	r.on, r.at = branch, o.place
	r.next = &outgoing{state: state, place: o.place, branch: branch, outlet: o, urgent: urgent, left: left}
	poke(r.wake)
}

// report is the source as its report shows it.
func (s *source) report() report.Source {
	out := report.Source{
		Name: s.name, Ref: s.status.ObservedRef, Paths: s.object.Spec.Paths, Sync: "OutOfSync", Health: s.status.Health,
		Objects: s.status.Objects, Drift: append([]drift.Record(nil), s.records...),
		Problems: append([]v1alpha1.Problem(nil), s.status.Problems...),
		Observed: s.commitLine(s.status.ObservedCommit), Applied: s.commitLine(s.status.AppliedCommit),
	}
	out.Promotion = s.status.Promotion.DeepCopy()
	out.Environments = s.status.DeepCopy().Environments
	if s.status.ObservedCommit == s.status.AppliedCommit {
		out.Sync = "Synced"
	}
	if out.Health == "" {
		out.Health = v1alpha1.HealthUnknown
	}
	if r := s.release; r != nil {
		out.Tried = *r.Status.DeepCopy()
		out.Phase, out.Message, out.Evidence = string(r.Status.Phase), r.Status.Message, r.Status.Evidence
		if r.Spec.Commit == s.status.AppliedCommit {
			out.Changes = r.Status.Summary.String()
			out.Problems = append(out.Problems, r.Status.Problems...)
		}
	}
	out.Plans = s.planReports()
	if t := s.status.AppliedTime; t != nil {
		out.Since = &t.Time
	}
	return out
}

func (s *source) commitLine(id string) *report.Commit {
	if id == "" {
		return nil
	}
	out := &report.Commit{ID: id}
	parsed, err := repo.ParseID(id)
	if err != nil {
		return out
	}
	if c, err := s.follower.repo.Commit(parsed); err == nil {
		out.Author = c.Author
		out.Subject, _, _ = strings.Cut(c.Message, "\n")
	}
	return out
}

// run writes until the context ends.
func (r *reporter) run(ctx context.Context) {
	clock := r.source.engine.cfg.Clock
	var last time.Time
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-r.reverts:
			done := job.write(ctx, clock.Now())
			r.source.tell(func(p *pending) { p.reverted = done })
			continue
		case <-r.wake:
		case <-later:
		}
		later = nil
		r.mu.Lock()
		out := r.next
		if out != nil && !out.urgent && !last.IsZero() && clock.Since(last) < report.Interval {
			later = clock.After(report.Interval - clock.Since(last))
			out = nil
		} else {
			r.next = nil
		}
		r.mu.Unlock()
		if out == nil {
			continue
		}
		last = clock.Now()
		err := r.write(ctx, out, last)
		if ctx.Err() == nil {
			r.source.tell(func(p *pending) { p.reported = &reported{out.outlet, err} })
		}
		if err != nil && ctx.Err() == nil {
			r.source.log.Warn("report not written", "error", err)
			if !errors.Is(err, report.ErrForeign) && !out.outlet.refuses(err) {
				later = r.again(out)
			}
		}
	}
}

// write writes a report with what became of each commit, as the API has it.
func (r *reporter) write(ctx context.Context, out *outgoing, now time.Time) error {
	tried, err := r.tried(ctx)
	if err != nil {
		return err
	}
	for _, b := range out.left { // here, as it waits for what others write there
		b.Forget(r.source.name)
	}
	out.left = nil
	_, err = out.branch.Publish(ctx, out.place, out.state, tried, now)
	return err
}

func (r *reporter) tried(ctx context.Context) ([]*v1alpha1.Release, error) {
	view, err := r.source.engine.cfg.Txn.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	var tried []*v1alpha1.Release
	for o := range view.Each(releases, "") {
		tried = append(tried, o.(*v1alpha1.Release))
	}
	return tried, nil
}

// lastWord is how long a remote may take to hear that a source is gone; who
// makes the source anew waits for that.
const lastWord = 10 * time.Second

// retract takes a source that was deleted out of its report, once run has
// returned.
func (r *reporter) retract(ctx context.Context) {
	r.mu.Lock()
	branch, place := r.on, r.at
	r.mu.Unlock()
	if branch == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	tried, err := r.tried(ctx)
	if err == nil {
		err = branch.Retract(ctx, place, r.source.name, tried, r.source.now())
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		r.source.log.Warn("the report still has the deleted source", "error", err)
	}
}

// again keeps a report that could not be written, unless a newer one waits.
func (r *reporter) again(out *outgoing) <-chan time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = out
	}
	return r.source.engine.cfg.Clock.After(report.Interval)
}
