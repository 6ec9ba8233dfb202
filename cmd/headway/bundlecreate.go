package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/bundle"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

// bundleCreate are the flags of `headway bundle create`.
type bundleCreate struct {
	source, since, file, key, clone, branch, ageKey string
	paths                                           []string
	images                                          bool
	imageDir, dataDir, endpoint                     string
	more                                            []string

	named, base []string // images: of the objects, and of the commit that the other side has
}

func bundleCreateCommand() *cobra.Command {
	var o bundleCreate
	cmd := &cobra.Command{
		Use:   "create COMMIT -o FILE",
		Short: "Put a commit into one file: history, list of objects, images",
		Long: `Put a commit into one file: its history, the list of its objects and, with
--images, the images that they run, for this machine's platform.

COMMIT is anything that git knows in the clone here (or of -C). How it is
rendered is asked of the cluster's GitSource; without a cluster, --path says
which directories count. Images come from the node on this machine, or from the
archives of --image-dir. With --since the file has only what has come since a
commit that the other side has: its history, and layers that its images lack.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "output", "o", "", "the file to write")
	f.StringVar(&o.since, "since", "", "a commit that the other side has")
	f.StringVar(&o.key, "key", "", "private key that signs: of headway bundle keygen, or an SSH key")
	f.StringVar(&o.source, "source", mainSourceName, "name of the GitSource")
	f.StringVarP(&o.clone, "clone", "C", ".", "directory of a clone of the source's repository")
	f.StringVar(&o.branch, "branch", "", "branch that the commit becomes the end of (default: the source's, else the one that is checked out)")
	f.StringSliceVar(&o.paths, "path", nil, "directories with the manifests (default: the source's)")
	f.StringVar(&o.ageKey, "age-key", "", "file with age keys that open encrypted files")
	f.BoolVar(&o.images, "images", false, "put the images in as well")
	f.StringVar(&o.imageDir, "image-dir", "", "directory with image archives (*.tar) to take them from, in place of the node")
	f.StringSliceVar(&o.more, "image", nil, "another image to put in, that no object names")
	f.StringVar(&o.dataDir, "data-dir", defaultDataDir, "the data directory of the node whose images are taken")
	f.StringVar(&o.endpoint, "runtime-endpoint", "", "socket of a running containerd (default: the node's own)")
	return cmd
}

func (o *bundleCreate) run(cmd *cobra.Command, name string) error {
	ctx := cmd.Context()
	if o.file == "" {
		return errors.New("name the file to write with -o")
	}
	spec := specOf(cmd, o.source)
	if len(o.paths) > 0 {
		spec.Paths = o.paths
	}
	var key ssh.Signer
	if o.key != "" {
		text, err := os.ReadFile(o.key)
		if err == nil {
			key, err = bundle.ParseKey(text)
		}
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
	}
	r, dir, err := o.repository(spec)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read from
	commit, since, err := o.commits(ctx, r, dir, name)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "headway-bundle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	content, err := o.content(ctx, r, spec, commit, since, scratch)
	if err != nil {
		return err
	}
	progress := progressOf(cmd)
	progress.Done("commit %.12s renders to %d objects", commit.ID, len(content.Objects))
	if o.images || o.imageDir != "" || len(o.more) > 0 {
		closeStore, err := o.addImages(ctx, content, scratch)
		if err != nil {
			return err
		}
		defer closeStore()
		progress.Done("it runs %d images", len(content.Images))
	}
	m, err := o.write(ctx, content, key)
	if err != nil {
		return err
	}
	progress.Done("wrote %s, %s", o.file, byteCount(m.Size()))
	if key == nil {
		progress.Wait("it is not signed: headway bundle apply takes it with --insecure-unsigned only")
	}
	return nil
}

// repository is the clone, or the source's own repository when it lies here.
func (o *bundleCreate) repository(spec *v1alpha1.GitSourceSpec) (*repo.Repository, string, error) {
	if root, _, err := repositoryOf(o.clone); err == nil {
		if r, err := repo.Open(root); err == nil {
			return r, root, nil
		}
	}
	if path := strings.TrimPrefix(spec.URL, "file://"); strings.HasPrefix(path, "/") && path != "/" {
		r, err := repo.Open(path)
		return r, path, err
	}
	return nil, "", fmt.Errorf("%s is no clone of the repository: run this in one, or name it with -C", o.clone)
}

// commits are the commit to put in and the one that the other side has, or nil.
func (o *bundleCreate) commits(ctx context.Context, r *repo.Repository, dir, name string) (commit, since *repo.Commit, err error) {
	if commit, err = commitIn(ctx, r, dir, name); err != nil || o.since == "" {
		return commit, nil, err
	}
	if since, err = commitIn(ctx, r, dir, o.since); err != nil {
		return nil, nil, fmt.Errorf("--since: %w", err)
	}
	before, err := r.IsAncestor(ctx, since.ID, commit.ID)
	if err == nil && (!before || since.ID == commit.ID) {
		err = fmt.Errorf("--since: %.12s does not come before %.12s", since.ID, commit.ID)
	}
	return commit, since, err
}

// commitIn finds what git calls a commit in a repository.
func commitIn(ctx context.Context, r *repo.Repository, dir, name string) (*repo.Commit, error) {
	full, err := gitOutput(ctx, "-C", dir, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if err != nil {
		full = name // git may not be here, and a full id needs none
	}
	id, err := repo.ParseID(full)
	if err != nil {
		return nil, fmt.Errorf("%q is no commit in %s", name, dir)
	}
	return r.Commit(id)
}

// content is all but the images.
func (o *bundleCreate) content(ctx context.Context, r *repo.Repository, spec *v1alpha1.GitSourceSpec, commit, since *repo.Commit, scratch string) (*bundle.Content, error) {
	cfg, err := offlineRendering(spec, r, o.source, o.ageKey)
	if err != nil {
		return nil, err
	}
	renderer := render.New(cfg)
	set, err := renderWhole(ctx, renderer, commit.ID)
	if err != nil {
		return nil, err
	}
	content := &bundle.Content{Manifest: bundle.Manifest{
		Made: time.Now().UTC().Truncate(time.Second), Commit: commit.ID.String(), Subject: subject(commit.Message),
		Source: bundle.Source{Name: o.source, Branch: o.branchOf(r, spec), Spec: bundle.Travelling(spec)},
	}}
	if content.Objects, err = bundle.Objects(set); err != nil {
		return nil, err
	}
	o.named = bundle.ImagesOf(set)
	b := repo.NewBundle{Refs: map[string]repo.ID{"refs/heads/" + content.Manifest.Source.Branch: commit.ID}}
	if since != nil {
		b.Since, content.Manifest.Since = since.ID, since.ID.String()
		// One that does not render has no images that anybody has.
		if set, _, err := renderer.Render(ctx, since.ID); err == nil && set != nil {
			o.base = bundle.ImagesOf(set)
		}
	}
	tags, err := r.Refs(func(name string) bool { return strings.HasPrefix(name, "refs/tags/") })
	if err != nil {
		return nil, err
	}
	for name, id := range tags {
		if id != commit.ID {
			continue
		}
		if b.Refs[name], err = r.Tip(name); err != nil {
			return nil, err
		}
	}
	content.History = filepath.Join(scratch, "history.bundle")
	f, err := os.Create(content.History)
	if err != nil {
		return nil, err
	}
	return content, errors.Join(r.WriteBundle(ctx, f, b), f.Close())
}

func (o *bundleCreate) branchOf(r *repo.Repository, spec *v1alpha1.GitSourceSpec) string {
	if name, _, err := r.Resolve(v1alpha1.GitReference{}); err == nil && o.branch == "" && spec.Ref.Branch == "" && strings.HasPrefix(name, "refs/heads/") {
		return strings.TrimPrefix(name, "refs/heads/")
	}
	return cmp.Or(o.branch, spec.Ref.Branch, "main")
}

// renderWhole renders a commit that must have no problems.
func renderWhole(ctx context.Context, renderer *render.Renderer, id repo.ID) (*render.Set, error) {
	set, problems, err := renderer.Render(ctx, id)
	if err == nil && len(problems) > 0 {
		err = exitCode{exitRejected, fmt.Errorf("commit %.12s does not render: %s", id, problems[0])}
	}
	return set, err
}

// addImages takes the images from the node or from archives.
func (o *bundleCreate) addImages(ctx context.Context, content *bundle.Content, scratch string) (closeStore func(), err error) {
	names := append(o.named, o.more...)
	if o.imageDir != "" {
		store, err := openArchives(ctx, o.imageDir, filepath.Join(scratch, "images"))
		if err != nil {
			return nil, fmt.Errorf("--image-dir: %w", err)
		}
		return func() {}, gatherImages(ctx, store, content, names, o.base)
	}
	nodes, closeAll, err := openNodes(ctx, []string{o.dataDir}, o.endpoint, false)
	if err != nil {
		return nil, err
	}
	if err := gatherImages(ctx, nodes[0], content, names, o.base); err != nil {
		return nil, errors.Join(err, closeAll())
	}
	return func() { _ = closeAll() }, nil // only read from
}

// write writes the file, whole or not at all.
func (o *bundleCreate) write(ctx context.Context, content *bundle.Content, key ssh.Signer) (*bundle.Manifest, error) {
	f, err := os.CreateTemp(filepath.Dir(o.file), "."+filepath.Base(o.file)+"-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	m, err := bundle.Write(ctx, f, content, key)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return m, os.Rename(f.Name(), o.file)
}
