package containerd

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/headway-sh/headway/internal/imageblobs"
)

// ImageBlobs gives what an image of the node is made of, for this platform:
// its index or manifest, and all blobs, each after what names it. What cannot be
// found satisfies runtime.ErrImageNotFound.
func (r *Runtime) ImageBlobs(ctx context.Context, ref string) (target ocispec.Descriptor, blobs []ocispec.Descriptor, err error) {
	found, err := r.findImage(ctx, ref)
	if err != nil {
		return target, nil, err
	}
	record, err := r.client.ImageService().Get(r.in(ctx), found.name)
	if err != nil {
		return target, nil, fmt.Errorf("image %q: %w", ref, err)
	}
	if blobs, err = imageblobs.Of(r.in(ctx), r.client.ContentStore(), record.Target); err != nil {
		return target, nil, fmt.Errorf("image %q: the node has not kept all of it: %w", ref, err)
	}
	return record.Target, blobs, nil
}

// OpenBlob reads a blob of the node.
func (r *Runtime) OpenBlob(ctx context.Context, blob ocispec.Descriptor) (io.ReadCloser, error) {
	return imageblobs.Open(r.in(ctx), r.client.ContentStore(), blob)
}

// HasBlob tells whether the node has a blob.
func (r *Runtime) HasBlob(ctx context.Context, d digest.Digest) (bool, error) {
	_, err := r.client.ContentStore().Info(r.in(ctx), d)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
