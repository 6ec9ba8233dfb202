package containerd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/headway-sh/headway/internal/imageblobs"
	"github.com/headway-sh/headway/nodeagent/registry"
)

// Served are the node's images for other nodes: those that are whole and that
// anybody may have.
type Served struct {
	*Runtime
	// Public tells whether anybody may have an image, by its ID and one of its
	// names.
	Public func(id string, names []string) bool
}

var _ registry.Store = (*Served)(nil)

// Tag implements registry.Store.
func (s *Served) Tag(ctx context.Context, ref string) (ocispec.Descriptor, time.Time, error) {
	record, err := s.client.ImageService().Get(s.in(ctx), ref)
	if errdefs.IsNotFound(err) {
		return ocispec.Descriptor{}, time.Time{}, registry.ErrNotServed
	}
	if err != nil {
		return ocispec.Descriptor{}, time.Time{}, fmt.Errorf("image %q: %w", ref, err)
	}
	img, err := s.loadImage(ctx, record)
	if errdefs.IsNotFound(err) || err == nil && !s.Public(img.id, []string{record.Name}) {
		return ocispec.Descriptor{}, time.Time{}, registry.ErrNotServed
	}
	if err != nil {
		return ocispec.Descriptor{}, time.Time{}, err
	}
	blobs, err := s.parts(ctx, img)
	if err != nil {
		return ocispec.Descriptor{}, time.Time{}, err
	}
	return blobs[0], record.UpdatedAt, nil
}

// Find implements registry.Store.
func (s *Served) Find(ctx context.Context, d digest.Digest) (ocispec.Descriptor, error) {
	if blob, ok := s.again(ctx, d); ok {
		return blob, nil
	}
	all, err := s.loadImages(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, img := range all {
		if !s.Public(img.id, []string{img.name}) {
			continue
		}
		blobs, err := s.parts(ctx, img)
		if err != nil {
			continue // not whole: another may have the same blob
		}
		if i := slices.IndexFunc(blobs, func(b ocispec.Descriptor) bool { return b.Digest == d }); i >= 0 {
			s.images.mu.Lock()
			if s.images.within == nil {
				s.images.within = map[digest.Digest]string{}
			}
			for _, b := range blobs {
				s.images.within[b.Digest] = img.name
			}
			s.images.mu.Unlock()
			return blobs[i], nil
		}
	}
	return ocispec.Descriptor{}, registry.ErrNotServed
}

// again looks into the image in which the blob, or another of the same image,
// was found the last time: who fetches an image asks for one blob after the
// other, and each of these would list all images. That the image is still there
// and anybody's is looked at every time.
func (s *Served) again(ctx context.Context, d digest.Digest) (ocispec.Descriptor, bool) {
	s.images.mu.Lock()
	name, ok := s.images.within[d]
	s.images.mu.Unlock()
	if !ok {
		return ocispec.Descriptor{}, false
	}
	record, err := s.client.ImageService().Get(s.in(ctx), name)
	if err == nil {
		var img *loadedImage
		if img, err = s.loadImage(ctx, record); err == nil && s.Public(img.id, []string{img.name}) {
			blobs, err := s.parts(ctx, img)
			if i := slices.IndexFunc(blobs, func(b ocispec.Descriptor) bool { return b.Digest == d }); err == nil && i >= 0 {
				return blobs[i], true
			}
		}
	}
	s.images.mu.Lock()
	defer s.images.mu.Unlock()
	delete(s.images.within, d) // the whole list knows, if anybody does
	return ocispec.Descriptor{}, false
}

// parts are what an image is made of, its index or manifest first.
func (s *Served) parts(ctx context.Context, img *loadedImage) ([]ocispec.Descriptor, error) {
	s.images.mu.Lock()
	blobs := s.images.parts[img.target]
	s.images.mu.Unlock()
	if blobs != nil {
		return blobs, nil
	}
	record, err := s.client.ImageService().Get(s.in(ctx), img.name)
	if err == nil {
		blobs, err = imageblobs.Of(s.in(ctx), s.client.ContentStore(), record.Target)
	}
	if errdefs.IsNotFound(err) {
		return nil, registry.ErrNotServed
	}
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", img.name, err)
	}
	s.images.mu.Lock()
	defer s.images.mu.Unlock()
	if s.images.parts == nil {
		s.images.parts = map[digest.Digest][]ocispec.Descriptor{}
	}
	s.images.parts[img.target] = blobs
	return blobs, nil
}

// Open implements registry.Store.
func (s *Served) Open(ctx context.Context, blob ocispec.Descriptor) (registry.Blob, error) {
	at, err := s.client.ContentStore().ReaderAt(s.in(ctx), blob)
	if errdefs.IsNotFound(err) {
		return nil, registry.ErrNotServed
	}
	return at, err
}
