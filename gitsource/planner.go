package gitsource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// planners are made when the first plan is asked for.
type planners struct {
	own, foreign *render.Renderer
	view         txn.View // of the plan that is being made
}

// planner renders what is planned. It is not the source's own renderer, which
// remembers the applied commit, and what anybody may push gets one that has no
// keys and whose charts see no objects: what came of them would be told to
// whoever pushed it. Each remembers what it planned last, so that the next plan
// costs what has changed.
func (s *source) planner(anybodys bool, view txn.View) *render.Renderer {
	p := &s.follower.planners
	p.view = view
	read := func() (txn.View, error) { return p.view, nil }
	if !anybodys {
		if p.own == nil {
			p.own = s.renderer(s.follower.repo, read, nil)
		}
		return p.own
	}
	if p.foreign == nil {
		cfg := s.rendering(s.follower.repo, read, nil)
		cfg.Decrypt, cfg.Sealed = nil, true
		whole := cfg.Charts.Cluster
		cfg.Charts.Cluster = func() (*render.Cluster, error) {
			c, err := whole()
			if err != nil {
				return nil, err
			}
			return &render.Cluster{KubeVersion: c.KubeVersion, APIVersions: c.APIVersions}, nil
		}
		p.foreign = render.New(cfg)
	}
	return p.foreign
}

// foreign tells whether a reference may be pushed by people who may not push
// branches, as forges let everybody do with pull requests.
func foreign(ref string) bool {
	return strings.HasPrefix(ref, "refs/") && !repo.IsAlwaysMirrored(ref)
}

// anybodys tells whether a commit may have been pushed by anybody: it was named
// by such a reference, or by its id and is on no branch or tag.
func (s *source) anybodys(ctx context.Context, ref string, id repo.ID) (bool, error) {
	if foreign(ref) {
		return true, nil
	}
	if _, err := repo.ParseID(ref); err != nil {
		return false, nil
	}
	tips, err := s.follower.repo.Refs(repo.IsAlwaysMirrored)
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", id, err)
	}
	within, err := s.follower.repo.Within(ctx, id, slices.Collect(maps.Values(tips)))
	return !within, err
}
