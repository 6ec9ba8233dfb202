package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	// gitSecret holds what --git-token, --git-key and --git-known-hosts name.
	gitSecret = "headway-git"
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
	url, err := repositoryURL(s.options.repo)
	if err != nil {
		return v1alpha1.GitSourceSpec{}, err
	}
	spec := v1alpha1.GitSourceSpec{URL: url, Ref: v1alpha1.GitReference{Branch: s.options.branch}}
	if s.options.path != "" {
		spec.Paths = []string{s.options.path}
	}
	if spec.CABundle, err = readOptional(s.options.gitCA); err != nil {
		return spec, fmt.Errorf("--git-ca: %w", err)
	}
	credentials, err := s.options.gitCredentials()
	if err != nil || len(credentials) == 0 {
		return spec, err
	}
	spec.SecretRef = &v1alpha1.SecretReference{Namespace: metav1.NamespaceSystem, Name: gitSecret}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: gitSecret}, Data: credentials}
	if err := c.Create(ctx, secret); apierrors.IsAlreadyExists(err) {
		return spec, c.Update(ctx, secret)
	} else if err != nil {
		return spec, err
	}
	return spec, nil
}

// gitCredentials reads the files that the flags name, under the keys of the
// Secret of a GitSource.
func (o *serverOptions) gitCredentials() (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, one := range []struct{ flag, file, key string }{
		{"--git-token", o.gitToken, "token"}, {"--git-key", o.gitKey, "identity"}, {"--git-known-hosts", o.gitKnownHosts, "known_hosts"},
	} {
		content, err := readOptional(one.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.flag, err)
		}
		if one.key == "token" {
			content = bytes.TrimSpace(content)
		}
		if len(content) > 0 {
			out[one.key] = content
		} else if one.file != "" {
			return nil, fmt.Errorf("%s: %s is empty", one.flag, one.file)
		}
	}
	return out, nil
}

// scpLike is the short form of ssh URLs, as git@host:path.
var scpLike = regexp.MustCompile(`^((?:[^/:@]+@)?[^/:@]+):(.+)$`)

// repositoryURL is what --repo says as a URL or an absolute path.
func repositoryURL(text string) (string, error) {
	if strings.Contains(text, "://") || v1alpha1.HostedName(text) != "" {
		return text, nil
	}
	if m := scpLike.FindStringSubmatch(text); m != nil {
		if _, err := os.Lstat(text); err != nil {
			return "ssh://" + m[1] + "/" + strings.TrimPrefix(m[2], "/"), nil
		}
	}
	return filepath.Abs(text)
}

// clusterUID tells this cluster from all others: the UID of kube-system, which
// is made once and never deleted.
func (s *server) clusterUID(ctx context.Context) (string, error) {
	var ns corev1.Namespace
	err := s.api.Peer(apiserver.Masters).Client().Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &ns)
	return string(ns.UID), err
}
