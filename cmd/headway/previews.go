package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/printer"
)

// preview is a reference that is planned or runs in an environment.
type preview struct {
	Source      string                      `json:"source"`
	Ref         string                      `json:"ref"`
	Commit      string                      `json:"commit"`
	Plan        *previewPlan                `json:"plan,omitempty"`
	Environment *v1alpha1.EnvironmentStatus `json:"environment,omitempty"`
}

// previewPlan is what the reference would change.
type previewPlan struct {
	Name     string                   `json:"name"` // of the Plan
	Summary  v1alpha1.OperationCounts `json:"summary"`
	Problems []v1alpha1.Problem       `json:"problems,omitempty"`
}

// previewList is what `headway get previews` shows.
type previewList struct {
	Items []preview `json:"items"`
}

func previewsCommand() *cobra.Command {
	cmd := listing("previews", "List the references that are planned or run in an environment", func(ctx context.Context, c *cluster) (printer.Result, error) {
		found, err := previews(ctx, c)
		return previewsResult(found), err
	})
	cmd.Aliases = []string{"preview", "environments", "environment"}
	cmd.Long = `List the references that are planned as pull requests are (spec.previews), with
what each would change, and the environment that it runs in, if it has one
(spec.previews.environments).`
	return cmd
}

func previews(ctx context.Context, c *cluster) ([]preview, error) {
	var sources v1alpha1.GitSourceList
	var plans v1alpha1.PlanList
	if err := c.List(ctx, &sources); err != nil {
		return nil, err
	}
	if err := c.List(ctx, &plans); err != nil {
		return nil, err
	}
	byRef := map[[2]string]*preview{}
	at := func(source, ref, commit string) *preview {
		key := [2]string{source, ref}
		if byRef[key] == nil {
			byRef[key] = &preview{Source: source, Ref: ref, Commit: commit}
		}
		return byRef[key]
	}
	for i := range plans.Items {
		p := &plans.Items[i]
		if source := p.Labels[v1alpha1.LabelPreviewOf]; source != "" {
			at(source, p.Spec.Ref.Name, p.Status.Commit).Plan = &previewPlan{Name: p.Name, Summary: p.Status.Summary, Problems: p.Status.Problems}
		}
	}
	for i := range sources.Items {
		o := &sources.Items[i]
		for j := range o.Status.Environments {
			e := &o.Status.Environments[j]
			at(o.Name, e.Ref, e.Commit).Environment = e
		}
	}
	out := []preview{}
	for _, p := range byRef {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b preview) int { return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Ref, b.Ref)) })
	return out, nil
}

func previewsResult(found []preview) printer.Result {
	out := printer.Result{Object: previewList{found}}
	for i := range found {
		out.Names = append(out.Names, found[i].Ref)
	}
	out.Text = func(w io.Writer, wide bool) error {
		rows := [][]string{{"SOURCE", "REF", "COMMIT", "PLAN", "ENVIRONMENT", "NAMESPACE", "EXPIRES"}}
		if wide {
			rows[0] = append(rows[0], "MESSAGE")
		}
		for i := range found {
			p := &found[i]
			row := []string{p.Source, p.Ref, fmt.Sprintf("%.12s", p.Commit), "-", "-", "-", "-"}
			if p.Plan != nil {
				row[3] = p.Plan.Summary.String()
				if n := len(p.Plan.Problems); n > 0 {
					row[3] = fmt.Sprintf("problems: %d", n)
				}
			}
			message := ""
			if e := p.Environment; e != nil {
				row[4], row[5], message = string(e.Phase), e.Namespace, e.Message
				row[6] = e.Expires.UTC().Format("2006-01-02 15:04 UTC")
				if e.LeftOut > 0 {
					row[4] += fmt.Sprintf(" (%d left out)", e.LeftOut)
				}
			}
			if wide {
				row = append(row, message)
			}
			rows = append(rows, row)
		}
		return printer.Rows(w, rows)
	}
	return out
}
