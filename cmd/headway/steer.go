package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/printer"
)

// steerer is the client that the steering verbs appear as; writes of theirs
// keep a field manager of their own.
const steerer = "headway"

// suspendCommand holds commits back for a while.
func suspendCommand() *cobra.Command {
	var period time.Duration
	var reason string
	cmd := &cobra.Command{
		Use:   "suspend [SOURCE]",
		Short: "Hold new commits back",
		Long: `Hold new commits back. What is applied stays; drift is still recorded, but not
put back. With --for it ends by itself; "headway resume" ends it at once.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			s := v1alpha1.Suspension{Reason: reason}
			if s.By, err = whoAmI(cmd.Context(), c); err != nil {
				return err
			}
			if period != 0 {
				s.Until = &metav1.Time{Time: time.Now().Add(period).Truncate(time.Second)}
			}
			source := sourceName(args)
			if err := patchSpec(cmd.Context(), c, source, map[string]any{"suspend": s}); err != nil {
				return err
			}
			until := ""
			if s.Until != nil {
				until = " until " + s.Until.Local().Format("2006-01-02 15:04")
			}
			progressOf(cmd).Done("%s is suspended%s", source, until)
			return nil
		},
	}
	cmd.Flags().DurationVar(&period, "for", 0, "how long (default: until it is resumed)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	return cmd
}

// resumeCommand follows the reference again.
func resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume [SOURCE]",
		Short: "Follow the branch again after suspend or rollback",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			source := sourceName(args)
			if err := patchSpec(cmd.Context(), c, source, map[string]any{"suspend": nil, "pin": nil}); err != nil {
				return err
			}
			progressOf(cmd).Done("%s follows its ref again", source)
			return nil
		},
	}
}

// rollbackCommand restores exactly what another commit had.
func rollbackCommand() *cobra.Command {
	var source, reason string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rollback COMMIT|DATE",
		Short: "Restore exactly the objects of another commit, and stay there",
		Long: `Restore exactly the objects of another commit, with creations and deletions, and
stay there until "headway resume". It needs nothing but the cluster: the
repository may be out of reach.

COMMIT is an id, which may be shortened when the cluster has seen it, or in a
clone of the repository anything that git knows. DATE, as 2026-03-01 or
"2026-03-01 14:30" in local time or RFC 3339, means the commit that was healthy
then. Exit status: 0 restored, 1 the commit cannot be restored, 3 not within
--timeout.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			commit, err := pastCommit(cmd.Context(), c, source, args[0])
			if err != nil {
				return exitCode{exitDiffers, err}
			}
			pin := v1alpha1.Pin{Commit: commit, Reason: reason}
			if pin.By, err = whoAmI(cmd.Context(), c); err != nil {
				return err
			}
			var before v1alpha1.GitSource
			if err := c.Get(cmd.Context(), client.ObjectKey{Name: source}, &before); err != nil {
				return err
			}
			if err := patchSpec(cmd.Context(), c, source, map[string]any{"pin": pin}); err != nil {
				return err
			}
			progress := progressOf(cmd)
			progress.Step("%s goes to %.12s", source, commit)
			err = awaitPin(cmd.Context(), c, source, commit, timeout, progress)
			if code := (exitCode{}); errors.As(err, &code) && code.code == exitDiffers {
				// What cannot be had must not stay asked for.
				err = errors.Join(err, patchSpec(cmd.Context(), c, source, map[string]any{"pin": before.Spec.Pin}))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&source, "source", mainSourceName, "name of the GitSource")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait at most")
	return cmd
}

func sourceName(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return mainSourceName
}

func progressOf(cmd *cobra.Command) *printer.Progress {
	return printer.NewProgress(cmd.ErrOrStderr(), os.Getenv)
}

// whoAmI is the name that the cluster knows the caller by.
func whoAmI(ctx context.Context, c *cluster) (string, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return "", fmt.Errorf("ask who I am: %w", err)
	}
	return review.Status.UserInfo.Username, nil
}

// patchSpec merges fields into a GitSource's spec.
func patchSpec(ctx context.Context, c *cluster, source string, fields map[string]any) error {
	patch, err := json.Marshal(map[string]any{"spec": fields})
	if err != nil {
		return err
	}
	o := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: source}}
	return c.Patch(ctx, o, client.RawPatch("application/merge-patch+json", patch), client.FieldOwner(steerer))
}

// dateForms are what a DATE may look like.
var dateForms = []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

// pastCommit finds the commit that a person means.
func pastCommit(ctx context.Context, c *cluster, source, name string) (string, error) {
	var list v1alpha1.ReleaseList
	if err := c.List(ctx, &list); err != nil {
		return "", err
	}
	list.Items = slices.DeleteFunc(list.Items, func(r v1alpha1.Release) bool { return r.Spec.Source != source })
	for _, form := range dateForms {
		if at, err := time.ParseInLocation(form, name, time.Local); err == nil {
			return healthyAt(list.Items, at)
		}
	}
	known := make([]string, len(list.Items))
	for i := range list.Items {
		known[i] = list.Items[i].Spec.Commit
	}
	return resolveCommit(ctx, name, known)
}

// healthyAt is the newest commit that had become healthy by a time.
func healthyAt(releases []v1alpha1.Release, at time.Time) (string, error) {
	var best *v1alpha1.Release
	for i := range releases {
		r := &releases[i]
		if r.Status.Phase != v1alpha1.ReleaseHealthy || r.Status.FinishedTime == nil || r.Status.FinishedTime.After(at) {
			continue
		}
		if best == nil || r.Status.FinishedTime.After(best.Status.FinishedTime.Time) {
			best = r
		}
	}
	if best == nil {
		return "", fmt.Errorf("no commit had become healthy by %s; \"headway log\" shows what there was", at.Format(time.RFC3339))
	}
	return best.Spec.Commit, nil
}

// awaitPin waits until the cluster is at a pinned commit.
func awaitPin(ctx context.Context, c *cluster, source, commit string, timeout time.Duration, progress *printer.Progress) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := "the cluster has not looked at it yet"
	err := watchUntil(ctx, c.config, []client.Object{&v1alpha1.GitSource{}}, func(ctx context.Context, r client.Reader) (bool, error) {
		var o v1alpha1.GitSource
		if err := r.Get(ctx, client.ObjectKey{Name: source}, &o); err != nil {
			return false, err
		}
		ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || o.Status.ObservedGeneration != o.Generation {
			return false, nil
		}
		last = ready.Message
		switch {
		case ready.Reason == "Pinned" && o.Status.AppliedCommit == commit:
			progress.Done("%s", ready.Message)
			return true, nil
		case ready.Status == metav1.ConditionFalse && ready.Reason != "Suspended":
			return false, exitCode{exitDiffers, errors.New(ready.Message)}
		}
		return false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return exitCode{exitTimeout, fmt.Errorf("%s is not at %.12s after %s: %s", source, commit, timeout, last)}
	}
	return err
}
