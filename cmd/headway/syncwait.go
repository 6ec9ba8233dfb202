package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// syncPatience is how long `sync --wait` waits when it is not told.
const syncPatience = 10 * time.Minute

// syncWait waits until a source has asked its repository, and then for whatever
// commit is the newest.
type syncWait struct {
	commitWait
	asked   string // resourceVersion of the source since it was asked to
	handled bool
}

func (w *syncWait) run(ctx context.Context, c *cluster, timeout time.Duration) error {
	w.descends = func(commit, of string) bool { return commit == of }
	w.told = w.source + " has not asked its repository yet"
	return c.untilHealthy(ctx, timeout, w.look, func() (string, string) { return w.source, w.told })
}

// untilHealthy looks at sources and releases, whenever they change, until look
// has seen enough; so says what is not healthy when the time is over, and why.
func (c *cluster) untilHealthy(ctx context.Context, timeout time.Duration, look func(context.Context, client.Reader) (bool, error), so func() (what, why string)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := watchUntil(ctx, c.config, []client.Object{&v1alpha1.GitSource{}, &v1alpha1.Release{}}, look)
	if errors.Is(err, context.DeadlineExceeded) {
		what, why := so()
		return exitCode{exitTimeout, fmt.Errorf("%s is not healthy after %s: %s", what, timeout, why)}
	}
	return err
}

func (w *syncWait) look(ctx context.Context, r client.Reader) (bool, error) {
	var o v1alpha1.GitSource
	if err := r.Get(ctx, client.ObjectKey{Name: w.source}, &o); err != nil {
		return false, err
	}
	if !w.handled {
		var err error
		if w.handled, err = handledSince(&o, w.asked); !w.handled || err != nil {
			return false, err
		}
		if c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionFetched); c != nil && c.Status == metav1.ConditionFalse {
			return false, fmt.Errorf("%s cannot read its repository: %s", w.source, c.Message)
		}
	}
	if o.Status.ObservedCommit == "" {
		return false, nil // an environment whose first commit may not follow yet
	}
	w.commit, w.seen = o.Status.ObservedCommit, true
	if done, err := w.commitWait.look(ctx, r); done || err != nil {
		return done, err
	}
	return false, barred(&o)
}

// handledSince tells whether a source has done what its annotation asked for at
// a resourceVersion, or what another one has asked for since then.
func handledSince(o *v1alpha1.GitSource, asked string) (bool, error) {
	order, err := resourceversion.CompareResourceVersion(o.ResourceVersion, asked)
	if err != nil {
		return false, fmt.Errorf("compare versions: %w", err)
	}
	return order >= 0 && o.Status.LastHandledFetch == o.Annotations[v1alpha1.AnnotationFetch], nil
}

// barred is an error for a newest commit that only a person lets through.
func barred(o *v1alpha1.GitSource) error {
	ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	commit := o.Status.ObservedCommit
	switch {
	case ready == nil || o.Status.AppliedCommit == commit:
		return nil
	case ready.Reason == "Suspended", o.Spec.Pin != nil && o.Spec.Pin.Commit != commit:
		return exitCode{exitDiffers, fmt.Errorf("commit %.12s is held back: %s; \"headway resume %s\" lets it through", commit, ready.Message, o.Name)}
	}
	return nil
}
