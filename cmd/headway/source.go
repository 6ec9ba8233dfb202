package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/apiserver"
)

const (
	// mainSourceName is the GitSource that --repo stands for.
	mainSourceName = "main"
	// gitTokenSecret holds what --git-token names.
	gitTokenSecret = "headway-git-token"
)

// mainSource brings the GitSource "main" up to the flags. Without --repo
// whatever is there stays.
func (s *server) mainSource(ctx context.Context) error {
	if s.options.repo == "" {
		return nil
	}
	// Another server may be doing the same.
	raced := func(err error) bool { return apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) }
	for until := s.clock.Now().Add(sourcePatience); ; {
		err := retry.OnError(retry.DefaultRetry, raced, func() error { return s.setMainSource(ctx) })
		if !isStoreAway(err) || s.clock.Now().After(until) {
			return err
		}
		s.log.Warn("the store does not answer, the git source is set up later", "err", err)
		select {
		case <-ctx.Done():
			return err
		case <-s.clock.After(sourceRetry):
		}
	}
}

// How long a start waits for the store while servers elect another leader.
const (
	sourcePatience = time.Minute
	sourceRetry    = 500 * time.Millisecond
)

// isStoreAway tells the errors of a store that has no leader for the moment.
func isStoreAway(err error) bool {
	return apierrors.IsInternalError(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err)
}

func (s *server) setMainSource(ctx context.Context) error {
	c := s.api.Peer(apiserver.Masters).Client()
	spec, err := s.mainSourceSpec(ctx, c)
	if err != nil {
		return err
	}
	var have v1alpha1.GitSource
	err = c.Get(ctx, client.ObjectKey{Name: mainSourceName}, &have)
	switch {
	case apierrors.IsNotFound(err):
		return c.Create(ctx, &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: mainSourceName}, Spec: spec})
	case err != nil:
		return err
	}
	wanted := have.DeepCopy()
	wanted.Spec.URL, wanted.Spec.Ref, wanted.Spec.Paths, wanted.Spec.SecretRef, wanted.Spec.CABundle = spec.URL, spec.Ref, spec.Paths, spec.SecretRef, spec.CABundle
	if equality.Semantic.DeepEqual(wanted.Spec, have.Spec) {
		return nil
	}
	return c.Update(ctx, wanted)
}

func (s *server) mainSourceSpec(ctx context.Context, c client.Client) (v1alpha1.GitSourceSpec, error) {
	spec := v1alpha1.GitSourceSpec{URL: s.options.repo, Ref: v1alpha1.GitReference{Branch: s.options.branch}}
	if !strings.Contains(spec.URL, "://") {
		path, err := filepath.Abs(spec.URL)
		if err != nil {
			return spec, err
		}
		spec.URL = path
	}
	if s.options.path != "" {
		spec.Paths = []string{s.options.path}
	}
	var err error
	if spec.CABundle, err = readOptional(s.options.gitCA); err != nil {
		return spec, fmt.Errorf("--git-ca: %w", err)
	}
	token, err := readOptional(s.options.gitToken)
	if err != nil {
		return spec, fmt.Errorf("--git-token: %w", err)
	}
	if token == nil {
		return spec, nil
	}
	spec.SecretRef = &v1alpha1.SecretReference{Namespace: metav1.NamespaceSystem, Name: gitTokenSecret}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: gitTokenSecret},
		Data: map[string][]byte{"token": []byte(strings.TrimSpace(string(token)))}}
	if err := c.Create(ctx, secret); apierrors.IsAlreadyExists(err) {
		return spec, c.Update(ctx, secret)
	} else if err != nil {
		return spec, err
	}
	return spec, nil
}

// clusterUID tells this cluster from all others: the UID of kube-system, which
// is made once and never deleted.
func (s *server) clusterUID(ctx context.Context) (string, error) {
	var ns corev1.Namespace
	err := s.api.Peer(apiserver.Masters).Client().Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &ns)
	return string(ns.UID), err
}
