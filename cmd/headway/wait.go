package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/internal/printer"
)

func waitCommand() *cobra.Command {
	var source string
	var timeout, unseen time.Duration
	cmd := &cobra.Command{
		Use:   "wait COMMIT",
		Short: "Wait until a commit, or one after it, is applied and healthy",
		Long: `Wait until a commit, or one after it, is applied and healthy.

COMMIT is an id or, in a clone of the repository, anything that git knows, such
as HEAD. Exit status: 0 applied and healthy, 1 failed, rolled back or never
pushed, 3 not within --timeout, 4 refused.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := userCluster(cmd)
			if err != nil {
				return err
			}
			w := commitWait{source: source, name: args[0], unseen: unseen, progress: printer.NewProgress(cmd.ErrOrStderr(), os.Getenv)}
			return w.run(cmd.Context(), c, timeout)
		},
	}
	cmd.Flags().StringVar(&source, "source", mainSourceName, "name of the GitSource")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait at most")
	cmd.Flags().DurationVar(&unseen, "unseen", 15*time.Second, "how long a commit may stay unknown to the cluster before it counts as never pushed")
	return cmd
}

// commitWait waits for one commit.
type commitWait struct {
	source, name string
	unseen       time.Duration
	progress     *printer.Progress

	commit   string
	descends func(commit, of string) bool
	told     string
	seen     bool
}

func (w *commitWait) run(ctx context.Context, c *cluster, timeout time.Duration) error {
	var releases v1alpha1.ReleaseList
	if err := c.List(ctx, &releases); err != nil {
		return err
	}
	known := make([]string, len(releases.Items))
	for i := range releases.Items {
		known[i] = releases.Items[i].Spec.Commit
	}
	var err error
	if w.commit, err = resolveCommit(ctx, w.name, known); err != nil {
		return err
	}
	w.descends = descends(ctx)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	patient, stop := context.WithTimeout(ctx, min(w.unseen, timeout))
	defer stop()
	kinds := []client.Object{&v1alpha1.GitSource{}, &v1alpha1.Release{}}
	// Until the commit is seen, patience is shorter.
	err = watchUntil(patient, c.config, kinds, func(ctx context.Context, r client.Reader) (bool, error) {
		done, err := w.look(ctx, r)
		return done || w.seen, err
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return exitCode{exitDiffers, fmt.Errorf("commit %.12s is not known to the cluster; is it pushed to the branch that it follows?", w.commit)}
	case err == nil && w.told != arrived:
		err = watchUntil(ctx, c.config, kinds, w.look)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitCode{exitTimeout, fmt.Errorf("commit %.12s is not healthy after %s: %s", w.commit, timeout, w.told)}
	}
	return err
}

// arrived is what was told when there is nothing more to wait for.
const arrived = "arrived"

// look decides by what the cluster says of the commit now.
func (w *commitWait) look(ctx context.Context, r client.Reader) (bool, error) {
	var o v1alpha1.GitSource
	if err := r.Get(ctx, client.ObjectKey{Name: w.source}, &o); err != nil {
		if apierrors.IsNotFound(err) {
			return false, fmt.Errorf("there is no GitSource %q: name another with --source", w.source)
		}
		return false, err
	}
	var releases v1alpha1.ReleaseList
	if err := r.List(ctx, &releases); err != nil {
		return false, err
	}
	w.seen = w.seen || o.Status.ObservedCommit == w.commit || w.descends(o.Status.ObservedCommit, w.commit)
	answer, why := gitsource.Verdict(&o, releases.Items, w.commit, w.descends)
	switch answer {
	case gitsource.Arrived:
		w.told = arrived
		w.progress.Done("%s", why)
		return true, nil
	case gitsource.Failed:
		return false, exitCode{exitDiffers, w.verdict("failed", why, &o)}
	case gitsource.Refused:
		return false, exitCode{exitRejected, w.verdict("was refused", why, &o)}
	}
	if line := w.line(&o, why); line != w.told {
		w.told = line
		w.progress.Wait("%s", line)
	}
	return false, nil
}

func (w *commitWait) line(o *v1alpha1.GitSource, why string) string {
	if !w.seen {
		return fmt.Sprintf("commit %.12s is not seen yet; the newest one is %.12s", w.commit, o.Status.ObservedCommit)
	}
	if len(o.Status.Problems) > 0 {
		why += ": " + o.Status.Problems[0].String()
	} else if ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Status == metav1.ConditionFalse {
		why += ": " + ready.Message // a window, an approval or an order that it waits for
	}
	return fmt.Sprintf("commit %.12s: %s", w.commit, why)
}

// verdict says what happened, with every problem that is known.
func (w *commitWait) verdict(word, why string, o *v1alpha1.GitSource) error {
	lines := []string{fmt.Sprintf("commit %.12s %s: %s", w.commit, word, why)}
	for _, p := range o.Status.Problems {
		if text := p.String(); text != why {
			lines = append(lines, "  "+text)
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}
