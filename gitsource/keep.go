package gitsource

import (
	"errors"

	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/rendered"
	"github.com/headway-sh/headway/gitsource/repo"
)

// How many applied commits of a source are kept as objects, and how many more
// come before the oldest are removed.
const (
	keptCommits = 200
	keptSpare   = 20
)

// keep stores the objects of the commit that was applied last. A failure costs
// history, and nothing that runs.
func (s *source) keep() {
	set := s.unkept
	s.unkept = nil
	if set == nil {
		return
	}
	if err := s.engine.rendered.Put(s.name, set, s.now()); err != nil {
		s.log.Warn("the rendered commit is not kept", "error", err)
		return
	}
	n, err := s.engine.rendered.Count(s.name)
	if err == nil && n > keptCommits+keptSpare {
		err = s.engine.rendered.Prune(s.name, func(n int, i rendered.Info) bool {
			return n < keptCommits || i.Commit.String() == s.status.HealthyCommit || i.Commit.String() == s.status.AppliedCommit
		})
	}
	if err != nil {
		s.log.Warn("old rendered commits are not removed", "error", err)
	}
}

// kept gives the objects of a commit that is gone back to as they were when it
// was applied, whatever has become of keys, variables, charts' surroundings or
// the repository since. It is nil for other commits, and for what is not kept:
// that is rendered.
func (s *source) kept(a aim) *render.Set {
	if !a.back() {
		return nil
	}
	set, err := s.engine.rendered.Get(s.name, a.id)
	if err == nil {
		return set
	}
	if !errors.Is(err, rendered.ErrNotKept) {
		s.log.Warn("the commit is rendered anew", "error", err)
	}
	return nil
}

// commit reads a commit. Without its repository a kept one is known by its
// objects alone.
func (s *source) commit(id repo.ID, kept *render.Set) (*repo.Commit, error) {
	err := s.follower.err
	if err == nil {
		var c *repo.Commit
		if c, err = s.follower.repo.Commit(id); err == nil {
			return c, nil
		}
	}
	if kept != nil {
		return &repo.Commit{ID: id}, nil
	}
	return nil, err
}

// Rendered is where the objects of applied commits are kept.
func (e *Engine) Rendered() *rendered.Store { return e.rendered }
