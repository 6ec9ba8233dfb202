package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/printer"
)

// planTimeout is how long the cluster may take to answer a Plan.
const planTimeout = time.Minute

// diffCommand compares what git says with what is live.
func diffCommand() *cobra.Command {
	cmd := planned("diff [REF [REF]]", "Show what differs between the applied commit (or REF) and the cluster, or between two commits",
		`Show what differs between the applied commit and the cluster: what drift has
changed and nobody has put back. With REF, a branch, tag or commit of the
source's repository is compared instead. With two of them, the objects that they
render to are compared with each other: in a clone of the repository by this
command itself, with no need for a cluster; elsewhere, or with --source, by the
cluster, with the objects that it has kept of commits that were applied. Exit
status: 0 nothing, 1 differences, 4 the commit could not be applied.`, cobra.MaximumNArgs(2))
	var ageKey string
	cmd.Flags().StringVar(&ageKey, "age-key", "", "file with age keys that open encrypted files, to compare two commits")
	withCluster := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) < 2 {
			return withCluster(cmd, args)
		}
		compare := func() (printer.Result, int, error) {
			return diffCommits(cmd, cmd.Flag("source").Value.String(), ageKey, args[0], args[1])
		}
		if ageKey == "" && (cmd.Flags().Changed("source") || !inClone()) {
			compare = func() (printer.Result, int, error) {
				return diffInCluster(cmd, cmd.Flag("source").Value.String(), args[0], args[1])
			}
		}
		result, differences, err := compare()
		if err != nil {
			return err
		}
		if err := printer.Print(cmd.OutOrStdout(), cmd.Flag("output").Value.(*printer.Flag).Format, result); err != nil {
			return err
		}
		if differences > 0 {
			return exitCode{code: exitDiffers}
		}
		return nil
	}
	return cmd
}

// planCommand shows what following another reference would change.
func planCommand() *cobra.Command {
	return planned("plan REF", "Show what a branch, tag or commit would change",
		`Show what a branch, tag or commit of the source's repository would change if
the cluster followed it, worked out by the API server on one revision; nothing
is written. Exit status: 0 nothing, 1 changes, 4 it could not be applied.`, cobra.ExactArgs(1))
}

func planned(use, short, long string, args cobra.PositionalArgs) *cobra.Command {
	var source string
	var output printer.Flag
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			ref, err := planRef(cmd.Context(), c, source, args)
			if err != nil {
				return err
			}
			p, err := askPlan(cmd.Context(), c, v1alpha1.PlanSpec{Source: source, Ref: ref})
			if err != nil {
				return err
			}
			if err := printer.Print(cmd.OutOrStdout(), output.Format, planResult(p)); err != nil {
				return err
			}
			switch s := p.Status.Summary; {
			case len(p.Status.Problems) > 0:
				return exitCode{code: exitRejected}
			case s.Created+s.Changed+s.Deleted > 0:
				return exitCode{code: exitDiffers}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&source, "source", mainSourceName, "name of the GitSource")
	cmd.Flags().VarP(&output, "output", "o", "form of the result: json, yaml, wide or name")
	return cmd
}

// planRef is what to compare: the applied commit, a commit, a full reference
// name, or a branch.
func planRef(ctx context.Context, c *cluster, source string, args []string) (v1alpha1.GitReference, error) {
	if len(args) == 0 {
		var o v1alpha1.GitSource
		if err := c.Get(ctx, client.ObjectKey{Name: source}, &o); err != nil {
			return v1alpha1.GitReference{}, err
		}
		if o.Status.AppliedCommit == "" {
			return v1alpha1.GitReference{}, exitCode{exitDiffers, fmt.Errorf("source %q has applied nothing yet", source)}
		}
		return v1alpha1.GitReference{Commit: o.Status.AppliedCommit}, nil
	}
	switch name := args[0]; {
	case len(name) > 5 && name[:5] == "refs/":
		return v1alpha1.GitReference{Name: name}, nil
	case commitID.MatchString(name) || name == "HEAD":
		id, err := resolveCommit(ctx, name, nil)
		return v1alpha1.GitReference{Commit: id}, err
	default:
		return v1alpha1.GitReference{Branch: name}, nil
	}
}

// askPlan makes a Plan, waits for the answer and removes it again.
func askPlan(ctx context.Context, c *cluster, spec v1alpha1.PlanSpec) (p *v1alpha1.Plan, err error) {
	p = &v1alpha1.Plan{ObjectMeta: metav1.ObjectMeta{GenerateName: spec.Source + "-"}, Spec: spec}
	if err := c.Create(ctx, p); err != nil {
		return nil, fmt.Errorf("ask for a plan: %w", err)
	}
	defer func() {
		// Also when the person has lost patience.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, client.IgnoreNotFound(c.Delete(last, p)))
	}()
	limited, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	err = watchUntil(limited, c.config, []client.Object{&v1alpha1.Plan{}}, func(ctx context.Context, r client.Reader) (bool, error) {
		err := r.Get(ctx, client.ObjectKeyFromObject(p), p)
		return err == nil && len(p.Status.Conditions) > 0, client.IgnoreNotFound(err)
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, exitCode{exitTimeout, fmt.Errorf("source %q has not answered within %s; does it exist, and is the gitsource component running?", spec.Source, planTimeout)}
	}
	return p, err
}

func planResult(p *v1alpha1.Plan) printer.Result {
	r := printer.Result{Object: p.Status}
	for _, o := range p.Status.Outcomes {
		r.Names = append(r.Names, o.Object)
	}
	r.Text = func(w io.Writer, _ bool) error {
		for _, problem := range p.Status.Problems {
			fmt.Fprintln(w, problem)
		}
		if p.Status.Frozen != "" {
			fmt.Fprintf(w, "! %s\n", p.Status.Frozen)
		}
		for _, f := range p.Status.Sealed {
			fmt.Fprintf(w, "! encrypted, not looked into: %s\n", f)
		}
		if p.Status.Approval != "" {
			fmt.Fprintf(w, "! %s (digest %s)\n", p.Status.Approval, p.Status.Digest)
		}
		outcomesText(w, p.Status.Outcomes)
		for _, h := range p.Status.Hooks {
			fmt.Fprintf(w, "! runs the %s hook %s  (%s)\n", h.Stage, h.Object, h.Origin)
		}
		impactText(w, p.Status.Impact)
		_, err := fmt.Fprintf(w, "commit %.12s: %s\n", p.Status.Commit, p.Status.Summary)
		return err
	}
	return r
}

// impactText says what the changes set in motion.
func impactText(w io.Writer, i *v1alpha1.PlanImpact) {
	if i == nil {
		return
	}
	for _, r := range i.Rollouts {
		fmt.Fprintf(w, "! %s: %d pods are replaced\n", r.Object, r.Pods)
	}
	for _, l := range i.Lost {
		fmt.Fprintf(w, "! deletes %s\n", l)
	}
	for _, image := range i.MissingImages {
		fmt.Fprintf(w, "! no node has the image %s\n", image)
	}
	for _, q := range i.Quotas {
		if q.Exceeded {
			fmt.Fprintf(w, "! more than the quota allows: %s\n", q)
		}
	}
	for _, l := range i.Irreversible {
		fmt.Fprintf(w, "! a rollback does not bring back %s\n", l)
	}
}

// outcomesText says what is done to each object.
func outcomesText(w io.Writer, outcomes []v1alpha1.ObjectOutcome) {
	for _, o := range outcomes {
		fmt.Fprintf(w, "%s %s", map[string]string{"created": "+", "updated": "~", "replaced": "±", "released": ">", "deleted": "-", "terminating": "-", "unchanged": "="}[o.Operation], o.Object)
		switch {
		case o.MovedFrom != "":
			fmt.Fprintf(w, "  (%s, moved from %s)", o.Origin, o.MovedFrom)
		case o.Origin != "":
			fmt.Fprintf(w, "  (%s)", o.Origin)
		}
		fmt.Fprintln(w)
		for _, f := range o.Fields {
			fmt.Fprintf(w, "    %s: %s → %s\n", f.Path, cmp.Or(f.Before, "(none)"), cmp.Or(f.After, "(none)"))
		}
	}
}
