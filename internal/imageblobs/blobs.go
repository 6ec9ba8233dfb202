package imageblobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Of gives the blobs of an image for this machine's platform, each once and
// after what names it. All of them are in the store.
func Of(ctx context.Context, store content.Store, target ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	w := walk{store: store, platform: platforms.Default(), seen: map[string]bool{}}
	if err := w.add(ctx, target); err != nil {
		return nil, err
	}
	return w.out, nil
}

type walk struct {
	store    content.Store
	platform platforms.MatchComparer
	seen     map[string]bool
	out      []ocispec.Descriptor
}

// add goes on with what a blob names. Siblings come before their children, which
// does no harm: each comes after its parent.
func (w *walk) add(ctx context.Context, d ocispec.Descriptor) error {
	if w.seen[d.Digest.String()] {
		return nil
	}
	w.seen[d.Digest.String()] = true
	info, err := w.store.Info(ctx, d.Digest)
	if err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	d.Size = info.Size
	w.out = append(w.out, ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
	if !images.IsIndexType(d.MediaType) && !images.IsManifestType(d.MediaType) {
		return nil
	}
	children, err := images.Children(ctx, w.store, d)
	if err != nil {
		return err
	}
	if images.IsIndexType(d.MediaType) {
		return w.addPlatforms(ctx, d, children)
	}
	for _, c := range children {
		if err := w.add(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// addPlatforms goes on with the manifests that can run here and are here.
func (w *walk) addPlatforms(ctx context.Context, index ocispec.Descriptor, children []ocispec.Descriptor) error {
	found := false
	for _, c := range children {
		if c.Platform != nil && !w.platform.Match(*c.Platform) {
			continue
		}
		if _, err := w.store.Info(ctx, c.Digest); errdefs.IsNotFound(err) {
			continue
		}
		if err := w.add(ctx, c); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("index %s has nothing for this platform: %w", index.Digest, errdefs.ErrNotFound)
	}
	return nil
}

// Open reads a blob.
func Open(ctx context.Context, store content.Provider, d ocispec.Descriptor) (io.ReadCloser, error) {
	at, err := store.ReaderAt(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	return &reader{io.NewSectionReader(at, 0, at.Size()), at}, nil
}

type reader struct {
	io.Reader
	io.Closer
}

// readIndex reads an index.
func readIndex(ctx context.Context, store content.Provider, d ocispec.Descriptor) (*ocispec.Index, error) {
	text, err := content.ReadBlob(ctx, store, d)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	return &index, json.Unmarshal(text, &index)
}
