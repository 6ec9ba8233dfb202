package render

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"

	"github.com/headway-sh/headway/gitsource/render/helm"
)

// supply finds a dependency that the chart does not carry: below a path that
// it names itself, or in the mirror.
func (b *chartBuild) supply(c *chart.Chart, want *chart.Dependency) error {
	if p, ok := strings.CutPrefix(want.Repository, "file://"); ok && !path.IsAbs(p) {
		return b.attach(c, want, path.Join(b.at, p))
	}
	if b.cfg.Charts.Mirror == "" {
		return b.fetch(c, want)
	}
	entries, err := b.looks.list(b.cfg.Charts.Mirror)
	if err != nil {
		return fmt.Errorf("the mirror of charts: %w", err)
	}
	for _, e := range entries {
		if e.Name != want.Name && (!strings.HasPrefix(e.Name, want.Name+"-") || path.Ext(e.Name) != ".tgz") {
			continue
		}
		found, err := b.load(path.Join(b.cfg.Charts.Mirror, e.Name), e)
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join(b.cfg.Charts.Mirror, e.Name), err)
		}
		if helm.Satisfies(found, want) {
			return b.adopt(c, found)
		}
	}
	return b.fetch(c, want)
}

// fetch takes a dependency from a repository outside. One that is away may be
// there later.
func (b *chartBuild) fetch(c *chart.Chart, want *chart.Dependency) error {
	if len(b.cfg.Charts.Repositories) == 0 || b.cfg.Charts.Fetch == nil {
		return helm.Need(c, want)
	}
	version, err := helm.Exact(c, want)
	if err != nil {
		return err
	}
	if b.run.silent {
		b.built.keyless = true
		return fmt.Errorf("the dependency %s %s is not asked for: a repository has just not answered in time", want.Name, version)
	}
	content, err := b.cfg.Charts.Fetch(b.ctx, want.Name, version)
	if err != nil {
		b.built.keyless, b.run.silent = true, errors.Is(err, context.DeadlineExceeded)
		return fmt.Errorf("the dependency %s %s cannot be had: %w", want.Name, version, err)
	}
	found, err := helm.LoadArchive(content)
	if err != nil {
		return fmt.Errorf("the dependency %s %s: %w", want.Name, version, err)
	}
	if !helm.Satisfies(found, want) {
		return fmt.Errorf("the dependency %s %s: its archive has %s %s", want.Name, version, found.Name(), found.Metadata.Version)
	}
	return b.adopt(c, found)
}

func (b *chartBuild) attach(c *chart.Chart, want *chart.Dependency, at string) error {
	resolved, e, err := b.looks.entry(at)
	if err != nil {
		return fmt.Errorf("the dependency %s: %w", want.Name, err)
	}
	found, err := b.load(resolved, e)
	if err != nil {
		return fmt.Errorf("the dependency %s: %w", want.Name, err)
	}
	if !helm.Satisfies(found, want) {
		return fmt.Errorf("the dependency %s %s: %s has %s %s", want.Name, want.Version, at, found.Name(), found.Metadata.Version)
	}
	return b.adopt(c, found)
}

// adopt adds a dependency that does not lie in the chart, as long as all of them
// are no larger than a chart may be.
func (b *chartBuild) adopt(c, found *chart.Chart) error {
	if b.size += helm.Size(found); b.size > helm.MaxChart {
		return fmt.Errorf("the dependencies from elsewhere have more than %d bytes", helm.MaxChart)
	}
	c.AddDependency(found)
	return nil
}
