package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/printer"
)

// inClone tells whether the current directory is in a working tree.
func inClone() bool {
	root, _, err := repositoryOf(".")
	if err != nil {
		return false
	}
	_, err = os.Lstat(filepath.Join(root, ".git"))
	return err == nil
}

// diffInCluster has the cluster compare what two commits render to.
func diffInCluster(cmd *cobra.Command, source, from, to string) (printer.Result, int, error) {
	ctx := cmd.Context()
	c, err := userCluster(cmd)
	if err != nil {
		return printer.Result{}, 0, err
	}
	var refs [2]v1alpha1.GitReference
	for i, name := range []string{from, to} {
		if refs[i], err = sourceRef(ctx, c, source, name); err != nil {
			return printer.Result{}, 0, err
		}
	}
	p, err := askPlan(ctx, c, v1alpha1.PlanSpec{Source: source, Base: &refs[0], Ref: refs[1]})
	if err != nil {
		return printer.Result{}, 0, err
	}
	st := &p.Status
	if len(st.Problems) > 0 {
		return printer.Result{}, 0, exitCode{exitRejected, fmt.Errorf("%s and %s are not compared: %s", from, to, st.Problems[0])}
	}
	d := commitDiff{From: from, To: to, FromCommit: st.Base, ToCommit: st.Commit, Summary: st.Summary, Outcomes: st.Outcomes, Sealed: st.Sealed}
	if d.Outcomes == nil {
		d.Outcomes = []v1alpha1.ObjectOutcome{}
	}
	return d.result()
}

// sourceRef is what a person means by a name in the repository of a source:
// refs/… in full, tags/…, a commit that the cluster has seen or that is given in
// full, anything of the clone that one is in, or else a branch.
func sourceRef(ctx context.Context, c *cluster, source, name string) (v1alpha1.GitReference, error) {
	if strings.HasPrefix(name, "refs/") {
		return v1alpha1.GitReference{Name: name}, nil
	}
	if tag, ok := strings.CutPrefix(name, "tags/"); ok {
		return v1alpha1.GitReference{Tag: tag}, nil
	}
	if commitID.MatchString(name) || strings.HasPrefix(name, "HEAD") || strings.ContainsAny(name, "~^@{") {
		id, err := seenCommit(ctx, c, source, name)
		return v1alpha1.GitReference{Commit: id}, err
	}
	return v1alpha1.GitReference{Branch: name}, nil
}

// seenCommit gives the full id of a commit that the cluster has seen, or that
// the clone knows which one is in.
func seenCommit(ctx context.Context, c *cluster, source, name string) (string, error) {
	var list v1alpha1.ReleaseList
	if err := c.List(ctx, &list); err != nil {
		return "", err
	}
	var known []string
	for _, r := range list.Items {
		if r.Spec.Source == source {
			known = append(known, r.Spec.Commit)
		}
	}
	return resolveCommit(ctx, name, known)
}
