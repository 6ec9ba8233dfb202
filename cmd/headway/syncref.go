package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource"
	"github.com/headway-sh/headway/internal/printer"
)

// toRef brings a source to the commit of another reference.
type toRef struct {
	source, name, reason string
	progress             *printer.Progress
	asked                string // resourceVersion of the source since its repository is asked

	commit, told string
	pinned       int64 // generation of the source with the pin
}

// run has the newest commit of the reference planned, pins the source to it,
// and waits, unless timeout is zero.
func (t *toRef) run(ctx context.Context, c *cluster, timeout time.Duration) error {
	t.progress.Step("%s looks for %s", t.source, t.name)
	if err := t.fetched(ctx, c); err != nil {
		return err
	}
	ref, err := sourceRef(ctx, c, t.source, t.name)
	if err != nil {
		return err
	}
	p, err := askPlan(ctx, c, v1alpha1.PlanSpec{Source: t.source, Ref: ref})
	if err != nil {
		return err
	}
	if t.commit = p.Status.Commit; len(p.Status.Problems) > 0 || t.commit == "" {
		lines := []error{fmt.Errorf("%s cannot go to %s, and stays where it is", t.source, t.name)}
		for _, problem := range p.Status.Problems {
			lines = append(lines, errors.New("  "+problem.String()))
		}
		return exitCode{exitRejected, errors.Join(lines...)}
	}
	pin := v1alpha1.Pin{Commit: t.commit, AsNew: true, Reason: t.reason}
	if pin.By, err = whoAmI(ctx, c); err != nil {
		return err
	}
	if err := patchSpec(ctx, c, t.source, map[string]any{"pin": pin}); err != nil {
		return err
	}
	until := fmt.Sprintf("until \"headway resume %s\"", t.source)
	if timeout == 0 {
		t.progress.Done("%s goes to %.12s (%s), and stays there %s", t.source, t.commit, p.Status.Summary, until)
		return nil
	}
	t.progress.Step("%s goes to %.12s (%s)", t.source, t.commit, p.Status.Summary)
	if err := t.wait(ctx, c, timeout); err != nil {
		return err
	}
	t.progress.Done("%.12s is applied and healthy; %s stays there %s", t.commit, t.source, until)
	return nil
}

// fetched waits until the repository was asked. One that cannot be reached is
// gone on with: the commit may be known.
func (t *toRef) fetched(ctx context.Context, c *cluster) error {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	err := watchUntil(ctx, c.config, []client.Object{&v1alpha1.GitSource{}}, func(ctx context.Context, r client.Reader) (bool, error) {
		var o v1alpha1.GitSource
		if err := r.Get(ctx, client.ObjectKey{Name: t.source}, &o); err != nil {
			return false, err
		}
		return handledSince(&o, t.asked)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return exitCode{exitTimeout, fmt.Errorf("%s has not asked its repository within %s", t.source, planTimeout)}
	}
	return err
}

func (t *toRef) wait(ctx context.Context, c *cluster, timeout time.Duration) error {
	return c.untilHealthy(ctx, timeout, t.look, func() (string, string) { return fmt.Sprintf("commit %.12s", t.commit), t.told })
}

// look decides by what the cluster says of the commit since it was pinned.
func (t *toRef) look(ctx context.Context, r client.Reader) (bool, error) {
	var o v1alpha1.GitSource
	if err := r.Get(ctx, client.ObjectKey{Name: t.source}, &o); err != nil {
		return false, err
	}
	if o.Spec.Pin == nil || o.Spec.Pin.Commit != t.commit {
		if t.pinned != 0 && o.Generation > t.pinned {
			return false, exitCode{exitDiffers, fmt.Errorf("commit %.12s is not wanted any more: somebody has changed spec.pin of %s", t.commit, t.source)}
		}
		return false, nil // the write is not seen yet
	}
	t.pinned = o.Generation
	if o.Status.ObservedGeneration != o.Generation {
		return false, nil
	}
	if o.Status.AppliedCommit == t.commit && o.Status.HealthyCommit == t.commit && o.Status.Health == v1alpha1.HealthHealthy {
		return true, nil
	}
	var releases v1alpha1.ReleaseList
	if err := r.List(ctx, &releases); err != nil {
		return false, err
	}
	w := commitWait{source: t.source, commit: t.commit, seen: true, told: t.told, progress: t.progress}
	o.Status.HealthyCommit = "" // which may be of an earlier time
	switch answer, why := gitsource.Verdict(&o, releases.Items, t.commit, nil); answer {
	case gitsource.Failed:
		return false, exitCode{exitDiffers, w.verdict("failed", why, &o)}
	case gitsource.Refused:
		return false, exitCode{exitRejected, w.verdict("was refused", why, &o)}
	default:
		if ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Reason == "Suspended" && ready.Status == metav1.ConditionFalse {
			return false, exitCode{exitDiffers, fmt.Errorf("commit %.12s is held back: %s; \"headway resume %s\" ends the pin too", t.commit, ready.Message, t.source)}
		}
		if line := w.line(&o, why); line != t.told {
			t.told = line
			t.progress.Wait("%s", line)
		}
		return false, nil
	}
}
