package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	agekeys "filippo.io/age"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/offline"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/plan"
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
	var sets [2]map[txn.Ref]*render.Object
	for i, name := range []string{from, to} {
		if sets[i], err = renderedAt(ctx, renderer, name); err != nil {
			return printer.Result{}, 0, err
		}
	}
	outcomes, counts := compareSets(sets[0], sets[1])
	result := planResult(&v1alpha1.Plan{Status: v1alpha1.PlanStatus{Outcomes: outcomes}})
	result.Object = commitDiff{from, to, counts, outcomes}
	result.Text = func(w io.Writer, _ bool) error {
		outcomesText(w, outcomes)
		_, err := fmt.Fprintf(w, "%s..%s: %s\n", from, to, counts)
		return err
	}
	return result, int(counts.Created + counts.Changed + counts.Deleted), nil
}

// commitDiff is what `headway diff A B` shows.
type commitDiff struct {
	From     string                   `json:"from"`
	To       string                   `json:"to"`
	Summary  v1alpha1.OperationCounts `json:"summary"`
	Outcomes []v1alpha1.ObjectOutcome `json:"outcomes"`
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
	cfg.Decrypt = func() ([]agekeys.Identity, error) { return ageKeys(ageKey) }
	cfg.Charts.Cluster = func() (*render.Cluster, error) {
		version, apis := api.Capabilities()
		return &render.Cluster{KubeVersion: version, APIVersions: apis}, nil
	}
	return cfg, nil
}

// renderedAt are the objects of what a person calls a commit.
func renderedAt(ctx context.Context, renderer *render.Renderer, name string) (map[txn.Ref]*render.Object, error) {
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
	objects := make(map[txn.Ref]*render.Object, len(set.Objects))
	for _, o := range set.Objects {
		objects[refOf(o)] = o
	}
	return objects, nil
}

// refOf names an object by its kind: no cluster is asked for resources.
func refOf(o *render.Object) txn.Ref {
	gvk := o.Body.GroupVersionKind()
	return txn.Ref{Resource: schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, Namespace: o.Body.GetNamespace(), Name: o.Body.GetName()}
}

// compareSets says what lies between two sets of objects.
func compareSets(before, after map[txn.Ref]*render.Object) ([]v1alpha1.ObjectOutcome, v1alpha1.OperationCounts) {
	all := maps.Clone(before)
	maps.Copy(all, after)
	var out []v1alpha1.ObjectOutcome
	var counts v1alpha1.OperationCounts
	for _, ref := range slices.SortedFunc(maps.Keys(all), txn.Ref.Compare) {
		b, a := before[ref], after[ref]
		one := v1alpha1.ObjectOutcome{Object: ref.String(), Origin: cmp.Or(a, b).Origin()}
		switch {
		case b == nil:
			one.Operation = string(txn.Created)
			counts.Created++
		case a == nil:
			one.Operation = string(txn.Deleted)
			counts.Deleted++
		case a.Digest == b.Digest:
			counts.Unchanged++
			if a.File == b.File {
				continue
			}
			one.Operation, one.MovedFrom = string(txn.Unchanged), b.File
			counts.Moved++
		default:
			one.Operation = string(txn.Updated)
			counts.Changed++
			e := plan.Entry{Group: ref.Resource.Group, Kind: ref.Resource.Resource}
			one.Fields = drift.Diff(&e, b.Body, a.Body)
		}
		out = append(out, one)
	}
	return out, counts
}
