package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/headway-sh/headway/gitsource/bundle"
	"github.com/headway-sh/headway/internal/imageblobs"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
)

// imageStore is where a bundle's images come from.
type imageStore interface {
	// ImageBlobs gives an image's index or manifest, and all of its blobs for this
	// platform, each after what names it.
	ImageBlobs(ctx context.Context, ref string) (ocispec.Descriptor, []ocispec.Descriptor, error)
	OpenBlob(ctx context.Context, blob ocispec.Descriptor) (io.ReadCloser, error)
}

var _ imageStore = (*containerd.Runtime)(nil)

// archiveStore are the images of a directory of archives, by full names.
type archiveStore struct {
	archives *imageblobs.Archives
	byName   map[string]ocispec.Descriptor
}

// openArchives reads a directory of archives.
func openArchives(ctx context.Context, dir, scratch string) (*archiveStore, error) {
	archives, err := imageblobs.ReadArchives(ctx, dir, scratch)
	if err != nil {
		return nil, err
	}
	s := &archiveStore{archives, map[string]ocispec.Descriptor{}}
	for _, name := range archives.Names() {
		target := archives.Images[name]
		full, err := runtime.NormalizeReference(name)
		if err != nil {
			continue // only a tag, which names nothing
		}
		s.byName[full] = target
		repository, _, _ := strings.Cut(full, "@")
		if at := strings.LastIndex(repository, ":"); at > strings.LastIndex(repository, "/") {
			repository = repository[:at]
		}
		s.byName[repository+"@"+target.Digest.String()] = target
	}
	return s, nil
}

// ImageBlobs implements imageStore.
func (s *archiveStore) ImageBlobs(ctx context.Context, ref string) (ocispec.Descriptor, []ocispec.Descriptor, error) {
	target, ok := s.byName[ref]
	if !ok {
		return target, nil, fmt.Errorf("image %q: %w", ref, runtime.ErrImageNotFound)
	}
	blobs, err := imageblobs.Of(ctx, s.archives.Store, target)
	return target, blobs, err
}

// OpenBlob implements imageStore.
func (s *archiveStore) OpenBlob(ctx context.Context, blob ocispec.Descriptor) (io.ReadCloser, error) {
	return imageblobs.Open(ctx, s.archives.Store, blob)
}

// gatherImages puts the images of a set into a bundle, without the layers that
// the images of the base have.
func gatherImages(ctx context.Context, store imageStore, to *bundle.Content, names, base []string) error {
	have := map[string]bool{}
	for _, name := range base {
		full, err := runtime.NormalizeReference(name)
		if err != nil {
			continue // which no node could run
		}
		_, blobs, err := store.ImageBlobs(ctx, full)
		if errors.Is(err, runtime.ErrImageNotFound) {
			continue // whoever has it there: nothing is left out for it
		}
		if err != nil {
			return err
		}
		for _, b := range blobs {
			have[b.Digest.String()] = true
		}
	}
	to.Images, to.Open = []bundle.Image{}, store.OpenBlob
	var missing []string
	put := map[string]bool{}
	for _, name := range names {
		full, err := runtime.NormalizeReference(name)
		if err != nil {
			return err
		}
		target, blobs, err := store.ImageBlobs(ctx, full)
		if errors.Is(err, runtime.ErrImageNotFound) {
			missing = append(missing, full)
			continue
		}
		if err != nil {
			return err
		}
		to.Images = append(to.Images, bundle.Image{Name: full, Target: target})
		for _, b := range blobs {
			if !put[b.Digest.String()] && (!have[b.Digest.String()] || bundle.NamesBlobs(b)) {
				to.Blobs = append(to.Blobs, b)
			}
			put[b.Digest.String()] = true
		}
	}
	if len(missing) > 0 {
		return exitCode{exitDiffers, fmt.Errorf("these images are not here: %s; have the node pull or load them, or name a directory of archives with --image-dir", strings.Join(missing, ", "))}
	}
	return nil
}

// loadBundle loads the images of a bundle into a node's store, after a look
// whether it has what the bundle leaves to its base.
func loadBundle(ctx context.Context, b *bundle.Bundle, node *containerd.Runtime) ([]string, error) {
	reader, writer := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = writer.CloseWithError(b.Layout(ctx, writer)) // which the other side reads
	}()
	images, err := node.Import(ctx, reader)
	_ = reader.CloseWithError(errors.New("the import has ended")) // ends the writer when not all was read
	<-written
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range images {
		names = append(names, imageNames(i)...)
	}
	return names, nil
}

// hasNeeds tells whether a node has what a bundle leaves to its base.
func hasNeeds(ctx context.Context, b *readBundle, node *containerd.Runtime) error {
	for _, need := range b.Needs {
		has, err := node.HasBlob(ctx, need.Digest)
		if err != nil {
			return err
		}
		if !has {
			return fmt.Errorf("the bundle builds on the images of commit %.12s, of which this node lacks %s: apply the bundle of that commit first, or one without --since", b.Manifest.Since, need.Digest)
		}
	}
	return nil
}

// openNodes opens the stores of nodes on this machine, by their data
// directories. start has the containerd of the first begin when it does not run.
func openNodes(ctx context.Context, dirs []string, endpoint string, start bool) (nodes []*containerd.Runtime, closeAll func() error, err error) {
	closeAll = func() error {
		var failed error
		for _, n := range nodes {
			failed = errors.Join(failed, n.Close())
		}
		return failed
	}
	for _, dir := range dirs {
		path, err := filepath.Abs(dir)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		if _, err := os.Stat(path); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("there is no node here: %w; name its directory with --node-dir", err), closeAll())
		}
		n, err := nodeTools(path, endpoint, defaultCgroup).openRuntime(ctx, start)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("node in %s: %w", path, err), closeAll())
		}
		nodes = append(nodes, n)
	}
	return nodes, closeAll, nil
}
