package gitsource

import (
	"reflect"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// renderer makes a renderer of a repository, as the source's spec has it. It
// remembers what it rendered last.
func (s *source) renderer(r *repo.Repository) *render.Renderer {
	spec := &s.object.Spec
	return render.New(render.Config{Repo: r, Paths: spec.Paths, Ignore: spec.Ignore, Mode: spec.Render, Key: s.engine.cfg.Key})
}

// needsReopen tells whether a changed spec wants another repository or other
// rendering.
func needsReopen(old, new *v1alpha1.GitSourceSpec) bool {
	part := func(s *v1alpha1.GitSourceSpec) any {
		return []any{s.URL, s.Interval, s.SecretRef, s.CABundle, s.Ref, s.Paths, s.Ignore, s.Render}
	}
	return !reflect.DeepEqual(part(old), part(new))
}
