package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// gitObject is an object of the cluster beside what git says of it.
type gitObject struct {
	owned
	named   namedObject
	live    *unstructured.Unstructured // nil when it is gone
	repo    *repo.Repository
	dir     string // where the repository is
	commit  repo.ID
	set     *render.Set
	desired *render.Object
	seen    []v1alpha1.LiveWriter // by its source
}

// gitObjectFlags say where the repository is, and which object is meant.
type gitObjectFlags struct{ namespace, dir, ageKey string }

func (f *gitObjectFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "default", "namespace of the object")
	cmd.Flags().StringVarP(&f.dir, "clone", "C", ".", "directory of a clone of the source's repository")
	cmd.Flags().StringVar(&f.ageKey, "age-key", "", "file with age keys that open encrypted files")
}

// open reads an object and the commit that it was applied from. The caller
// closes the repository.
func (f *gitObjectFlags) open(ctx context.Context, c *cluster, name string) (*gitObject, error) {
	named, err := nameObject(c, f.namespace, name)
	if err != nil {
		return nil, err
	}
	o := &gitObject{named: named}
	if o.live, err = named.live(ctx, c); err != nil {
		return nil, err
	}
	all, err := inventoriesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	found := ownerOf(all, named.ref)
	switch {
	case found != nil:
		o.owned = *found
	case o.live == nil:
		return nil, fmt.Errorf("there is no %s", named.ref)
	default:
		return nil, fmt.Errorf("%s: %w", named.ref, errNotInGit)
	}
	if o.commit, err = repo.ParseID(o.head.Commit); err != nil {
		return nil, fmt.Errorf("source %q: %w", o.source, err)
	}
	var source v1alpha1.GitSource
	if err := c.Get(ctx, client.ObjectKey{Name: o.source}, &source); err != nil {
		return nil, err
	}
	v1alpha1.SetDefaultsGitSource(&source)
	o.seen = source.Status.LiveWriters
	if err := o.openRepository(f.dir, &source); err != nil {
		return nil, err
	}
	if err := o.render(ctx, &source, f.ageKey); err != nil {
		return nil, errors.Join(err, o.repo.Close())
	}
	return o, nil
}

// openRepository opens the clone at a directory, or else the source's own
// repository when it lies on this machine.
func (o *gitObject) openRepository(dir string, source *v1alpha1.GitSource) error {
	var here string
	if root, _, err := repositoryOf(dir); err == nil {
		here = root
	}
	for _, path := range []string{here, strings.TrimPrefix(source.Spec.URL, "file://")} {
		if !strings.HasPrefix(path, "/") {
			continue
		}
		r, err := repo.Open(path)
		if err != nil {
			continue
		}
		if _, err := r.Commit(o.commit); err == nil {
			o.repo, o.dir = r, path
			return nil
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return fmt.Errorf("source %q is at commit %.12s of %s, which no repository here has: name a clone with -C, and fetch", o.source, o.commit, source.Spec.URL)
}

// render finds what the commit says of the object.
func (o *gitObject) render(ctx context.Context, source *v1alpha1.GitSource, ageKey string) error {
	cfg, err := offlineRendering(&source.Spec, o.repo, o.source, ageKey)
	if err != nil {
		return err
	}
	set, problems, err := render.New(cfg).Render(ctx, o.commit)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return exitCode{exitRejected, fmt.Errorf("commit %.12s does not render here: %s", o.commit, problems[0])}
	}
	want := o.named.ref
	want.Resource.Resource = o.named.gvk.Kind
	for _, d := range set.Objects {
		ref := refOf(d)
		if ref.Namespace == "" && want.Namespace != "" {
			ref.Namespace = source.Spec.TargetNamespace
		}
		if ref == want {
			o.set, o.desired = set, d
			return nil
		}
	}
	return fmt.Errorf("commit %.12s has no %s any more: its last stages are not written yet", o.commit, o.named.ref)
}
