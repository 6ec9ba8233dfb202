package txntest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"

	"github.com/headway-sh/headway/api/txn"
)

// Commit implements txn.Interface.
func (s *Store) Commit(ctx context.Context, result *txn.Result, options txn.CommitOptions) (*txn.Committed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	notes, refusals, err := s.ask(ctx, result)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	plan, ok := s.plans[result]
	if !ok {
		return nil, errors.New("commit: the result was not planned here")
	}
	delete(s.plans, result)
	for _, p := range plan {
		if p.outcome.Change.DryRun {
			return nil, fmt.Errorf("commit %s: it was planned as a dry run", p.outcome.Change.Ref)
		}
	}
	if s.conflicts > 0 {
		s.conflicts--
		return nil, &txn.ConflictError{Refs: refs(plan)}
	}
	if e := options.Epoch; e != (txn.Epoch{}) && s.epochs[e.Name] != e.Number {
		return nil, txn.ErrEpoch
	}
	done := &txn.Committed{Revision: s.revision, Objects: make([]txn.Object, len(plan)), Failed: map[int]error{}}
	var lost []txn.Ref
	for _, c := range result.Compares {
		if s.revisions[c.Ref] != c.Revision {
			lost = append(lost, c.Ref)
		}
	}
	write := make([]bool, len(plan))
	for i, p := range plan {
		ref := p.outcome.Change.Ref
		switch {
		case p.outcome.Err != nil:
			done.Failed[i] = p.outcome.Err
		case refusals[i] != nil:
			done.Failed[i] = refusals[i]
		case s.revisions[ref] != p.expect:
			done.Failed[i] = &txn.ConflictError{Refs: []txn.Ref{ref}}
			lost = append(lost, ref)
		default:
			write[i] = p.outcome.Operation != txn.Unchanged
			done.Objects[i] = p.outcome.After
		}
	}
	if !options.Independent {
		for i, err := range done.Failed {
			if !txn.IsConflict(err) {
				return nil, fmt.Errorf("commit %s: %w", plan[i].outcome.Change.Ref, err)
			}
		}
		if len(lost) > 0 {
			return nil, &txn.ConflictError{Refs: lost}
		}
	}
	s.write(result, plan, write, append(notes, options.Notes...), done)
	return done, nil
}

func refs(plan []planned) []txn.Ref {
	out := make([]txn.Ref, len(plan))
	for i, p := range plan {
		out[i] = p.outcome.Change.Ref
	}
	return out
}

// ask asks the guards about every outcome.
func (s *Store) ask(ctx context.Context, result *txn.Result) ([]txn.Note, map[int]error, error) {
	s.mu.Lock()
	guards := make([]*guard, 0, len(s.guards))
	for g := range s.guards {
		guards = append(guards, g)
	}
	s.mu.Unlock()
	var notes []txn.Note
	refusals := map[int]error{}
	if len(guards) == 0 {
		return nil, refusals, nil
	}
	v, err := s.View(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i, o := range result.Outcomes {
		if o.Err != nil || o.Operation == txn.Unchanged {
			continue
		}
		for _, g := range guards {
			verdict, err := g.Check(ctx, v, o.Change.By(result.Identity), o)
			if err != nil {
				refusals[i] = err
			}
			notes = append(notes, verdict.Notes...)
			result.Outcomes[i].Warnings = append(result.Outcomes[i].Warnings, verdict.Warnings...)
		}
	}
	return notes, refusals, nil
}

// write publishes a transaction. The caller holds the lock.
func (s *Store) write(result *txn.Result, plan []planned, write []bool, notes []txn.Note, done *txn.Committed) {
	for _, n := range notes {
		if n.Value == nil {
			delete(s.notes, n.Key)
		} else {
			s.notes[n.Key] = n.Value
		}
	}
	last := map[txn.Ref]int{}
	first := map[txn.Ref]int{}
	for i, p := range plan {
		if write[i] {
			if _, ok := first[p.outcome.Change.Ref]; !ok {
				first[p.outcome.Change.Ref] = i
			}
			last[p.outcome.Change.Ref] = i
		}
	}
	if len(last) == 0 {
		if len(notes) > 0 {
			s.commits++
		}
		return
	}
	s.commits++
	s.revision++
	done.Revision = s.revision
	writes := make([]txn.Write, 0, len(last))
	fresh := map[any]bool{}
	for i, p := range plan {
		ref := p.outcome.Change.Ref
		if !write[i] || last[ref] != i {
			continue
		}
		if !fresh[ref.Resource] {
			fresh[ref.Resource] = true
			s.objects[ref.Resource] = maps.Clone(s.objects[ref.Resource])
			if s.objects[ref.Resource] == nil {
				s.objects[ref.Resource] = map[txn.Ref]txn.Object{}
			}
		}
		stored := p.outcome.After
		if stored == nil {
			delete(s.objects[ref.Resource], ref)
			delete(s.revisions, ref)
		} else {
			stored = stored.DeepCopyObject().(txn.Object)
			stored.SetResourceVersion(strconv.FormatInt(s.revision, 10))
			s.objects[ref.Resource][ref] = stored
			s.revisions[ref] = s.revision
			done.Objects[i] = stored
		}
		c := p.outcome.Change
		writes = append(writes, txn.Write{
			Identity: c.By(result.Identity), Ref: ref, Subresource: c.Subresource, FieldManager: c.FieldManager,
			Before: plan[first[ref]].outcome.Before, After: stored, Revision: s.revision, Time: s.clock.Now(),
		})
	}
	for o := range s.observers {
		o.push(writes)
	}
}

// observer is a goroutine with an unbounded queue: the emulator never lags
// unless told to.
type observer struct {
	mu      sync.Mutex // guards queue and stopped
	wake    *sync.Cond
	queue   []txn.Write
	stopped bool
}

func (o *observer) push(w []txn.Write) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, w...)
	o.wake.Signal()
}

func (o *observer) run(f func(txn.Write)) {
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.stopped {
			o.wake.Wait()
		}
		batch := o.queue
		o.queue = nil
		stopped := o.stopped
		o.mu.Unlock()
		if stopped {
			return
		}
		for _, w := range batch {
			f(w)
		}
	}
}

// Observe implements txn.Interface.
func (s *Store) Observe(f func(txn.Write)) func() {
	o := &observer{}
	o.wake = sync.NewCond(&o.mu)
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.run(f)
	}()
	s.mu.Lock()
	s.observers[o] = struct{}{}
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.observers, o)
		s.mu.Unlock()
		o.mu.Lock()
		o.stopped = true
		o.wake.Signal()
		o.mu.Unlock()
		<-done
	}
}

// Lag gives every observer the call that says it has missed something.
func (s *Store) Lag() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.observers {
		o.push([]txn.Write{{}})
	}
}
