package gitsource

import (
	"github.com/headway-sh/headway/gitsource/rendered"
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
	if set == nil || s.engine.rendered.Has(s.name, set.Commit) {
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

// Rendered is where the objects of applied commits are kept.
func (e *Engine) Rendered() *rendered.Store { return e.rendered }
