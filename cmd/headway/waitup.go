package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/printer"
)

// readyEvery is how often a starting server is asked whether it answers yet;
// before it does there is nothing to watch.
const readyEvery = 50 * time.Millisecond

// waitUp returns when the API answers, the node is Ready and the newest commit
// is applied and healthy.
func waitUp(ctx context.Context, o *serverOptions, progress *printer.Progress) error {
	config, err := waitReady(ctx, filepath.Join(o.dataDir, adminConfig))
	if err != nil {
		return fmt.Errorf("wait for the API: %w", err)
	}
	progress.Done("the API answers at %s", config.Host)
	w := upWatch{options: o, progress: progress, node: !o.enabled("agent"), commit: !o.enabled("gitsource")}
	kinds := []client.Object{&corev1.Node{}, &v1alpha1.GitSource{}, &v1alpha1.Release{}}
	if err := watchUntil(ctx, config, kinds, w.look); err != nil {
		return fmt.Errorf("wait for %s: %w", w.waiting(), err)
	}
	return nil
}

func waitReady(ctx context.Context, path string) (*rest.Config, error) {
	var last error
	for {
		config, err := clientcmd.BuildConfigFromFlags("", path)
		if err == nil {
			if err = ready(ctx, config); err == nil {
				return config, nil
			}
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(readyEvery):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), last)
		}
	}
}

func ready(ctx context.Context, config *rest.Config) error {
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := c.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the API answers %s", answer.Status)
	}
	return nil
}

// upWatch tells each step of a starting cluster once.
type upWatch struct {
	options      *serverOptions
	progress     *printer.Progress
	node, commit bool // reached
	told         string
}

func (w *upWatch) waiting() string {
	if !w.node {
		return "node " + w.options.nodeName
	}
	return "the newest commit"
}

func (w *upWatch) look(ctx context.Context, r client.Reader) (bool, error) {
	if !w.node {
		var node corev1.Node
		if err := r.Get(ctx, client.ObjectKey{Name: w.options.nodeName}, &node); client.IgnoreNotFound(err) != nil {
			return false, err
		}
		if w.node = nodeReady(&node); w.node {
			w.progress.Done("node %s is Ready", node.Name)
		}
	}
	if !w.commit {
		if err := w.lookAtCommit(ctx, r); err != nil {
			return false, err
		}
	}
	return w.node && w.commit, nil
}

func (w *upWatch) lookAtCommit(ctx context.Context, r client.Reader) error {
	var source v1alpha1.GitSource
	if err := r.Get(ctx, client.ObjectKey{Name: mainSourceName}, &source); err != nil {
		return client.IgnoreNotFound(err)
	}
	s := &source.Status
	switch {
	case s.ObservedCommit == "":
		return nil
	case s.HealthyCommit == s.ObservedCommit:
		w.progress.Done("commit %.12s is applied and healthy (%d objects)", s.HealthyCommit, s.Objects)
		w.commit = true
		return nil
	}
	if w.node && len(s.Problems) > 0 && s.AppliedCommit != s.ObservedCommit {
		return exitCode{exitRejected, fmt.Errorf("the cluster works, but commit %.12s is refused: %s", s.ObservedCommit, s.Problems[0])}
	}
	if s.AppliedCommit == s.ObservedCommit && w.told != s.AppliedCommit {
		w.told = s.AppliedCommit
		w.progress.Wait("commit %.12s is applied, its objects become healthy", s.AppliedCommit)
	}
	return nil
}

func nodeReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
