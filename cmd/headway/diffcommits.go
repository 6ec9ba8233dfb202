package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/offline"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/chartrepo"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/render/subst"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/printer"
)

// diffCommits compares what two commits of the repository here render to. The
// cluster is only asked how the source is rendered, and needs not be there.
func diffCommits(cmd *cobra.Command, source, ageKey, from, to string) (printer.Result, int, error) {
	ctx := cmd.Context()
	spec := specOf(cmd, source)
	root, _, err := repositoryOf(".")
	if err != nil {
		return printer.Result{}, 0, err
	}
	r, err := repo.Open(root)
	if err != nil {
		return printer.Result{}, 0, err
	}
	defer func() { _ = r.Close() }() // only read from
	cfg, err := offlineRendering(spec, r, source, ageKey)
	if err != nil {
		return printer.Result{}, 0, err
	}
	renderer := render.New(cfg) // which renders only once what both have
	var sets [2]*render.Set
	for i, name := range []string{from, to} {
		if sets[i], err = renderedAt(ctx, renderer, name); err != nil {
			return printer.Result{}, 0, err
		}
	}
	d := commitDiff{From: from, To: to, FromCommit: sets[0].Commit.String(), ToCommit: sets[1].Commit.String()}
	d.Outcomes, d.Summary = gitsource.Compare(sets[0], sets[1], nil)
	return d.result()
}

// commitDiff is what `headway diff A B` shows.
type commitDiff struct {
	From       string                   `json:"from"`
	To         string                   `json:"to"`
	FromCommit string                   `json:"fromCommit"`
	ToCommit   string                   `json:"toCommit"`
	Summary    v1alpha1.OperationCounts `json:"summary"`
	Outcomes   []v1alpha1.ObjectOutcome `json:"outcomes"`
	Sealed     []v1alpha1.SealedFile    `json:"sealed,omitempty"`
}

// result is how it is printed, and how many objects differ.
func (d commitDiff) result() (printer.Result, int, error) {
	result := planResult(&v1alpha1.Plan{Status: v1alpha1.PlanStatus{Outcomes: d.Outcomes}})
	result.Object = d
	result.Text = func(w io.Writer, _ bool) error {
		for _, f := range d.Sealed {
			what := "the same in both"
			if f.Changed {
				what = "differs"
			}
			fmt.Fprintf(w, "! encrypted, not looked into: %s: %s\n", f.File, what)
		}
		outcomesText(w, d.Outcomes)
		_, err := fmt.Fprintf(w, "%s..%s: %s\n", d.From, d.To, d.Summary)
		return err
	}
	return result, int(d.Summary.Created + d.Summary.Changed + d.Summary.Deleted), nil
}

// specOf is the spec of the cluster's GitSource, or that of a source that says
// nothing but where the repository is.
func specOf(cmd *cobra.Command, source string) *v1alpha1.GitSourceSpec {
	o := &v1alpha1.GitSource{Spec: v1alpha1.GitSourceSpec{URL: "/"}}
	if c, err := userCluster(cmd); err == nil {
		var found v1alpha1.GitSource
		if c.Get(cmd.Context(), client.ObjectKey{Name: source}, &found) == nil {
			o = &found
		}
	}
	v1alpha1.SetDefaultsGitSource(o)
	return &o.Spec
}

// offlineRendering renders a repository as a spec has it, without a cluster.
func offlineRendering(spec *v1alpha1.GitSourceSpec, r *repo.Repository, source, ageKey string) (render.Config, error) {
	api, err := offline.New()
	if err != nil {
		return render.Config{}, err
	}
	cfg := gitsource.RenderConfig(spec)
	gitsource.Tenants(&cfg, spec)
	cfg.Repo, cfg.Key = r, []byte("headway diff")
	cfg.Variables["source_name"] = subst.Variable{Value: source, Tag: "!!str"}
	cfg.Decrypt = offlineKeys(spec, ageKey)
	cfg.Charts.Fetch = gitsource.FetchCharts(userCharts(), cfg.Charts.Repositories)
	cfg.Charts.Cluster = func() (*render.Cluster, error) {
		version, apis := api.Capabilities()
		return &render.Cluster{KubeVersion: version, APIVersions: apis}, nil
	}
	return cfg, nil
}

// renderedAt are the objects of what a person calls a commit.
func renderedAt(ctx context.Context, renderer *render.Renderer, name string) (*render.Set, error) {
	full, err := resolveCommit(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	id, err := repo.ParseID(full)
	if err != nil {
		return nil, err
	}
	set, problems, err := renderer.Render(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, exitCode{exitRejected, fmt.Errorf("%s does not render: %s", name, problems[0])}
	}
	return set, nil
}

// refOf names an object by its kind: no cluster is asked for resources.
func refOf(o *render.Object) txn.Ref {
	gvk := o.Body.GroupVersionKind()
	return txn.Ref{Resource: schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, Namespace: o.Body.GetNamespace(), Name: o.Body.GetName()}
}

// userCharts are what the user's own renderings have taken from repositories of
// charts.
func userCharts() *chartrepo.Store {
	dir, err := os.UserCacheDir()
	if err != nil {
		return chartrepo.Open("") // which keeps nothing
	}
	return chartrepo.Open(filepath.Join(dir, "headway", "charts"))
}
