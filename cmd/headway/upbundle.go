package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/printer"
)

// bundled is the repository that a cluster which begins with a bundle follows.
func (o *upOptions) bundled() string {
	return filepath.Join(o.server.dataDir, "repos", mainSourceName+".git")
}

// readBundle checks the bundle to start with, before anything begins. It is nil
// without one.
func (o *upOptions) readBundle(ctx context.Context, progress *printer.Progress) (*readBundle, error) {
	if o.bundle == "" {
		return nil, nil
	}
	if o.server.repo != "" {
		return nil, errors.New("either --repo or --bundle: a bundle has a repository of its own")
	}
	b, err := readBundleFile(ctx, o.bundle, &o.trust)
	if err != nil {
		return nil, err
	}
	b.told(o.bundle, progress)
	return b, nil
}

// fits looks whether a bundle's history goes on from what is here, before
// anything begins. It tells whether the bundle's images are wanted, too.
func (o *upOptions) fits(ctx context.Context, b *readBundle) (bool, error) {
	if b == nil {
		return false, nil
	}
	path, err := filepath.Abs(o.bundled())
	if err != nil {
		return false, err
	}
	t := &bundleTarget{path: path}
	if err := t.look(ctx, b); err != nil {
		return false, err
	}
	defer t.close()
	return t.wantsImages(b), nil
}

// takeBundle has the cluster, whose images are loaded, follow what a bundle
// brings. It waits for nothing but the API.
func (o *upOptions) takeBundle(ctx context.Context, b *readBundle, progress *printer.Progress) error {
	if b == nil {
		return nil
	}
	config, err := waitReady(ctx, filepath.Join(o.server.dataDir, adminConfig))
	if err != nil {
		return fmt.Errorf("wait for the API: %w", err)
	}
	scheme, err := userScheme()
	if err != nil {
		return err
	}
	to, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	c := &cluster{to, config}
	apply := bundleApply{source: mainSourceName, dataDir: o.server.dataDir, noWait: true}
	t, err := apply.target(ctx, c, b)
	if err != nil {
		return err
	}
	defer t.close()
	return apply.applyTo(ctx, c, t, b, progress)
}
