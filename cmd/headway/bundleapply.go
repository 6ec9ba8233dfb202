package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/printer"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
)

// bundleApply are the flags of `headway bundle apply`.
type bundleApply struct {
	trust                       trustFlags
	source, repository, dataDir string
	nodeDirs                    []string
	endpoint                    string
	imagesOnly, noWait          bool
	timeout                     time.Duration
}

func bundleApplyCommand() *cobra.Command {
	var o bundleApply
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Take a bundle in: load its images, and have the cluster apply its commit",
		Long: `Take a bundle in on the machine of the server: check all of it, load its images
into the node's store, bring its history into the source's repository on this
machine, and wait until the commit is healthy. A source that is not there is
made, with a bare repository in the data directory. Nothing changes unless the
whole bundle is good and its history goes on from what is here.

On other nodes of the cluster run it with --images-only first. Exit status: 0
applied and healthy, 1 failed or rolled back, 2 the bundle is damaged or does
not fit, 3 not within --timeout, 4 refused: not signed by somebody trusted, or
by the cluster.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readBundleFile(cmd.Context(), args[0], &o.trust)
			if err != nil {
				return err
			}
			progress := progressOf(cmd)
			b.told(args[0], progress)
			return errors.Join(o.run(cmd, b, progress), b.close())
		},
	}
	o.trust.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.source, "source", "", "name of the GitSource (default: as the bundle says)")
	f.StringVar(&o.repository, "repo", "", "where to make the repository of a source that is not there yet (default: in the data directory)")
	f.StringVar(&o.dataDir, "data-dir", defaultDataDir, "the server's data directory")
	f.StringSliceVar(&o.nodeDirs, "node-dir", nil, "the data directories of the nodes on this machine (default: the server's)")
	f.StringVar(&o.endpoint, "runtime-endpoint", "", "socket of a running containerd (default: the node's own)")
	f.BoolVar(&o.imagesOnly, "images-only", false, "only load the images, for a node without the server")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait until the commit is healthy")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "how long to wait at most")
	return cmd
}

func (o *bundleApply) run(cmd *cobra.Command, b *readBundle, progress *printer.Progress) error {
	ctx := cmd.Context()
	if o.source == "" {
		o.source = b.Manifest.Source.Name
	}
	var nodes []*containerd.Runtime
	if len(b.Images) > 0 {
		dirs := o.nodeDirs
		if len(dirs) == 0 {
			dirs = []string{o.dataDir}
		}
		opened, closeAll, err := openNodes(ctx, dirs, o.endpoint, false)
		if err != nil {
			return err
		}
		defer func() { _ = closeAll() }()
		nodes = opened
	}
	var t *bundleTarget
	var c *cluster
	if !o.imagesOnly {
		var err error
		if c, err = userCluster(cmd); err != nil {
			return err
		}
		if t, err = o.target(ctx, c, b); err != nil {
			return err
		}
		defer t.close()
	}
	for _, n := range nodes {
		if err := hasNeeds(ctx, b, n); err != nil {
			return err
		}
	}
	// All is good: from here on things change. Images come first, so that pods
	// find them.
	if t == nil || t.wantsImages(b) {
		if err := loadInto(ctx, b, nodes, progress); err != nil {
			return err
		}
	}
	if o.imagesOnly {
		return nil
	}
	return o.applyTo(ctx, c, t, b, progress)
}

// loadInto loads a bundle's images into the stores of nodes.
func loadInto(ctx context.Context, b *readBundle, nodes []*containerd.Runtime, progress *printer.Progress) error {
	for _, n := range nodes {
		names, err := loadBundle(ctx, b.Bundle, n)
		if err != nil {
			return err
		}
		for _, name := range names {
			progress.Done("loaded image %s", name)
		}
	}
	return nil
}

// bundleTarget is where a bundle's history goes.
type bundleTarget struct {
	source *v1alpha1.GitSource // nil: it is to be made
	path   string
	repo   *repo.Repository // nil: it is to be made
	tip    string           // where its branch is, when that is the commit or beyond it
	// fallback says that the path is a git bundle that stands for a remote.
	fallback bool
}

// wantsImages tells whether the bundle is the newest that is known here: images
// of the past would take newer ones' names.
func (t *bundleTarget) wantsImages(b *readBundle) bool {
	return t.tip == "" || t.tip == b.Manifest.Commit
}

func (t *bundleTarget) close() {
	if t.repo != nil {
		_ = t.repo.Close() // written to by now, if at all
	}
}

// target finds the source and its repository, and looks whether the bundle's
// history goes on from what is there. Nothing is changed.
func (o *bundleApply) target(ctx context.Context, c *cluster, b *readBundle) (*bundleTarget, error) {
	t := &bundleTarget{path: o.repository}
	var found v1alpha1.GitSource
	switch err := c.Get(ctx, client.ObjectKey{Name: o.source}, &found); {
	case apierrors.IsNotFound(err):
		if t.path == "" {
			t.path = filepath.Join(o.dataDir, "repos", o.source+".git")
		}
		if _, err := os.Stat(o.dataDir); err != nil {
			return nil, fmt.Errorf("the server's data is not here: %w; name its directory with --data-dir", err)
		}
	case err != nil:
		return nil, err
	default:
		t.source, t.path = &found, strings.TrimPrefix(found.Spec.URL, "file://")
		if !strings.HasPrefix(t.path, "/") && found.Spec.Fallback == "" {
			return nil, fmt.Errorf("source %s follows %s: bring the history there with git, name a file in spec.fallback that stands for it while it is away, or have the source follow a repository on this machine (spec.url)", o.source, found.Spec.URL)
		}
		if t.fallback = !strings.HasPrefix(t.path, "/"); t.fallback {
			t.path = found.Spec.Fallback
			if b.Manifest.Since != "" {
				return nil, fmt.Errorf("source %s follows %s: %s, which stands for it, wants a whole history: make the bundle without --since", o.source, found.Spec.URL, t.path)
			}
			return t, t.look(ctx, b)
		}
		if repo.IsBundle(t.path) {
			return nil, fmt.Errorf("source %s follows the git bundle %s: have it follow a repository on this machine (spec.url)", o.source, t.path)
		}
		if branch := found.Spec.Ref.Branch; branch != "" && branch != b.Manifest.Source.Branch {
			return nil, fmt.Errorf("source %s follows branch %s, and the bundle brings branch %s: make it with --branch %s", o.source, branch, b.Manifest.Source.Branch, branch)
		}
	}
	var err error
	if t.path, err = filepath.Abs(t.path); err != nil {
		return nil, err
	}
	return t, t.look(ctx, b)
}

// look opens the repository and has the history looked through beside it.
func (t *bundleTarget) look(ctx context.Context, b *readBundle) error {
	if _, err := os.Stat(t.path); err == nil && !t.fallback {
		if t.repo, err = repo.Open(t.path); err != nil {
			return err
		}
		if gitDir, _ := t.repo.Dirs(); gitDir != t.path {
			t.close()
			return fmt.Errorf("%s has a working tree, which would no longer fit its branch: fetch the history there with git, or follow a bare repository", t.path)
		}
	}
	scratch, err := os.MkdirTemp(b.scratch, "beside-")
	if err != nil {
		return err
	}
	beside, there, err := b.CheckHistory(ctx, t.repo, b.history, scratch)
	if err != nil {
		t.close()
		return fmt.Errorf("repository %s: %w", t.path, err)
	}
	if err := compareObjects(ctx, beside, b); err != nil {
		t.close()
		return errors.Join(err, beside.Close())
	}
	if there {
		tip, err := t.repo.Tip("refs/heads/" + b.Manifest.Source.Branch)
		if err != nil {
			return errors.Join(err, beside.Close())
		}
		t.tip = tip.String()
	}
	return beside.Close()
}

// applyTo brings the history into the repository and waits for the cluster.
func (o *bundleApply) applyTo(ctx context.Context, c *cluster, t *bundleTarget, b *readBundle, progress *printer.Progress) error {
	commit := b.Manifest.Commit
	switch {
	case t.fallback:
		if err := o.standIn(ctx, c, t, b); err != nil {
			return fmt.Errorf("write %s: %w", t.path, err)
		}
		progress.Done("wrote %s, which is read while %s is away", t.path, t.source.Spec.URL)
	case t.tip != "":
		progress.Done("%s has commit %.12s already", t.path, commit)
	case t.repo == nil:
		if err := makeRepository(ctx, t.path, b); err != nil {
			return fmt.Errorf("make repository %s: %w", t.path, err)
		}
		progress.Done("made the repository %s", t.path)
	default:
		if err := b.TakeHistory(ctx, t.repo, b.history); err != nil {
			return fmt.Errorf("repository %s: %w", t.path, err)
		}
		progress.Done("branch %s of %s is at commit %.12s", b.Manifest.Source.Branch, t.path, commit)
	}
	if t.source == nil {
		source := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: o.source}, Spec: b.Manifest.Source.Spec}
		source.Spec.URL = t.path
		if source.Spec.Ref == (v1alpha1.GitReference{}) {
			source.Spec.Ref.Branch = b.Manifest.Source.Branch
		}
		if err := c.Create(ctx, source, client.FieldOwner(steerer)); err != nil {
			return fmt.Errorf("make source %s: %w", o.source, err)
		}
		progress.Done("source %s follows it", o.source)
	}
	if o.noWait {
		return nil
	}
	w := commitWait{source: o.source, name: cmp.Or(t.tip, commit), unseen: o.timeout, progress: progress}
	return w.run(ctx, c, o.timeout)
}

// standIn writes the history where a remote's fallback is, and has the remote
// asked, so that it is looked at. It appears whole or not at all.
func (o *bundleApply) standIn(ctx context.Context, c *cluster, t *bundleTarget, b *readBundle) error {
	from, err := os.Open(b.history)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(t.path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name())
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return err
	}
	if err := os.Rename(to.Name(), t.path); err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationFetch, "bundle "+b.Manifest.Commit+time.Now().UTC().Format(" 2006-01-02T15:04:05Z"))
	return c.Patch(ctx, t.source, client.RawPatch("application/merge-patch+json", patch), client.FieldOwner(steerer))
}

// makeRepository makes a bare repository with the bundle's history. It appears
// whole or not at all.
func makeRepository(ctx context.Context, path string, b *readBundle) error {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // the repository in it is for others too
		return err
	}
	temporary, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if err := os.WriteFile(filepath.Join(temporary, "HEAD"), []byte("ref: refs/heads/"+b.Manifest.Source.Branch+"\n"), 0o644); err != nil { //nolint:gosec // as git has it
		return err
	}
	r, err := repo.OpenMirror(temporary)
	if err != nil {
		return err
	}
	err = b.TakeHistory(ctx, r, b.history)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	err = filepath.WalkDir(temporary, func(at string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(at, 0o755) //nolint:gosec // as git has it
	})
	if err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
