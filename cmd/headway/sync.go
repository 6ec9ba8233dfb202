package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// syncCommand has a source look at its repository now.
func syncCommand() *cobra.Command {
	var override bool
	var wait time.Duration
	var toRef toRef
	cmd := &cobra.Command{
		Use:   "sync [SOURCE]",
		Short: "Ask the repository for new commits now, or apply the newest one in spite of windows",
		Long: `Ask the repository for new commits now instead of at the next interval. With
--override the newest commit that the cluster has seen is applied although
windows hold it back; its Release says who has asked for it.

With --ref the source goes to the newest commit of another branch, of refs/… or
tags/…, or to a commit, once, and stays there until "headway resume": like any
commit it is planned first, and has to pass verification, windows, guards,
approvals and health. The spec says so in spec.pin, with who has asked for it.

With --wait the result is waited for: that the repository was asked, and that
the newest commit is applied and healthy. Exit status: 0 applied and healthy, 1
failed, rolled back or held back by suspend or a pin, 2 the repository cannot be
read, 3 not within the time, 4 refused.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			source := sourceName(args)
			annotations := map[string]string{v1alpha1.AnnotationFetch: time.Now().UTC().Format(time.RFC3339Nano)}
			message := source + " looks for new commits"
			if override {
				commit, err := addOverride(cmd.Context(), c, source, annotations)
				if err != nil {
					return err
				}
				message = fmt.Sprintf("%s applies %.12s in spite of windows", source, commit)
			}
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
			if err != nil {
				return err
			}
			o := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: source}}
			if err := c.Patch(cmd.Context(), o, client.RawPatch("application/merge-patch+json", patch), client.FieldOwner(steerer)); err != nil {
				return err
			}
			progress := progressOf(cmd)
			if toRef.name != "" {
				toRef.source, toRef.progress, toRef.asked = source, progress, o.ResourceVersion
				if !cmd.Flags().Changed("wait") {
					wait = 0
				}
				return toRef.run(cmd.Context(), c, wait)
			}
			if !cmd.Flags().Changed("wait") {
				progress.Done("%s", message)
				return nil
			}
			progress.Step("%s", message)
			w := syncWait{commitWait: commitWait{source: source, progress: progress}, asked: o.ResourceVersion}
			return w.run(cmd.Context(), c, wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", syncPatience, "wait for the result, at most so long")
	cmd.Flags().Lookup("wait").NoOptDefVal = syncPatience.String()
	cmd.Flags().StringVar(&toRef.name, "ref", "", "go to this branch, tags/TAG, refs/… or commit, and stay there until resume")
	cmd.Flags().StringVar(&toRef.reason, "reason", "", "why, for people, with --ref")
	cmd.Flags().BoolVar(&override, "override", false, "apply the newest commit although windows hold it back")
	cmd.MarkFlagsMutuallyExclusive("ref", "override")
	return cmd
}

// addOverride asks for the newest commit of a source in spite of windows.
func addOverride(ctx context.Context, c *cluster, source string, annotations map[string]string) (commit string, err error) {
	var o v1alpha1.GitSource
	if err := c.Get(ctx, client.ObjectKey{Name: source}, &o); err != nil {
		return "", err
	}
	if o.Status.Frozen == nil {
		return "", exitCode{exitDiffers, errors.New("no commit of " + source + " waits for a window")}
	}
	by, err := whoAmI(ctx, c)
	if err != nil {
		return "", err
	}
	annotations[v1alpha1.AnnotationSync], annotations[v1alpha1.AnnotationSyncBy] = o.Status.Frozen.Commit, by
	return o.Status.Frozen.Commit, nil
}
