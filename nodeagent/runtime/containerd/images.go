package containerd

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// importPrefix names an image whose archive gives it no name.
const importPrefix = "import.headway.sh/image"

// loadedLabel marks images that were imported.
const loadedLabel = "headway.sh/loaded"

// Image implements runtime.Images.
func (r *Runtime) Image(ctx context.Context, ref string) (runtime.Image, error) {
	found, err := r.findImage(ctx, ref)
	if err != nil {
		return runtime.Image{}, err
	}
	all, err := r.loadImages(ctx)
	if err != nil {
		return runtime.Image{}, err
	}
	return merge(all)[found.id], nil
}

// findImage finds by ID ("sha256:…"), by name, or by repository and digest.
func (r *Runtime) findImage(ctx context.Context, ref string) (*loadedImage, error) {
	if full, err := runtime.NormalizeReference(ref); err == nil && !isID(ref) {
		record, err := r.client.ImageService().Get(r.in(ctx), full)
		if err == nil {
			return r.loadImage(ctx, record)
		}
		if !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("image %q: %w", ref, err)
		}
		ref = full
	}
	all, err := r.loadImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	for _, img := range all {
		if img.id == ref || slices.Contains(img.references(), ref) {
			return img, nil
		}
	}
	return nil, fmt.Errorf("image %q: %w", ref, runtime.ErrImageNotFound)
}

// isID tells an image's ID from a reference, whose grammar it fits too.
func isID(ref string) bool { return digest.Digest(ref).Validate() == nil }

// loadImages reads all images that can run on this machine.
func (r *Runtime) loadImages(ctx context.Context) ([]*loadedImage, error) {
	records, err := r.client.ImageService().List(r.in(ctx))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var list []*loadedImage
	for _, record := range records {
		img, err := r.loadImage(ctx, record)
		if errdefs.IsNotFound(err) {
			continue // being pulled, or of another platform
		}
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		list = append(list, img)
	}
	return list, nil
}

// ListImages implements runtime.Images.
func (r *Runtime) ListImages(ctx context.Context) ([]runtime.Image, error) {
	all, err := r.loadImages(ctx)
	if err != nil {
		return nil, err
	}
	merged := merge(all)
	var list []runtime.Image
	for _, id := range slices.Sorted(maps.Keys(merged)) {
		list = append(list, merged[id])
	}
	return list, nil
}

// merge puts the names of one image together.
func merge(all []*loadedImage) map[string]runtime.Image {
	merged := map[string]runtime.Image{}
	for _, img := range all {
		out, ok := merged[img.id]
		if !ok {
			out = img.image()
		}
		out.Loaded = out.Loaded || img.loaded
		for _, ref := range img.references() {
			if !slices.Contains(out.References, ref) {
				out.References = append(out.References, ref)
			}
		}
		merged[img.id] = out
	}
	return merged
}

// Import implements runtime.Images.
func (r *Runtime) Import(ctx context.Context, from io.Reader) ([]runtime.Image, error) {
	from, err := unzipped(from)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	records, err := r.client.Import(r.in(ctx), from,
		client.WithImageRefTranslator(importedName),
		client.WithImageLabels(map[string]string{loadedLabel: "true"}),
		client.WithDigestRef(func(d digest.Digest) string { return importPrefix + "@" + d.String() }),
		client.WithSkipDigestRef(func(name string) bool { return name != "" }),
	)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	var list []*loadedImage
	for _, record := range records {
		if err := client.NewImage(r.client, record).Unpack(r.in(ctx), r.config.Snapshotter); err != nil {
			return nil, fmt.Errorf("import image %q: unpack: %w", record.Name, err)
		}
		img, err := r.loadImage(ctx, record)
		if err != nil {
			return nil, fmt.Errorf("import image %q: %w", record.Name, err)
		}
		list = append(list, img)
	}
	return slices.Collect(maps.Values(merge(list))), nil
}

// importedName reads the name that an OCI layout's index gives an image: a
// full reference, or only a tag, which names nothing.
func importedName(name string) string {
	if !strings.ContainsAny(name, "/:") {
		return ""
	}
	full, err := runtime.NormalizeReference(name)
	if err != nil {
		return ""
	}
	return full
}

// unzipped reads plain and gzip archives alike.
func unzipped(from io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(from)
	magic, err := buffered.Peek(2)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	if magic[0] != 0x1f || magic[1] != 0x8b {
		return buffered, nil
	}
	return gzip.NewReader(buffered)
}

// RemoveImage implements runtime.Images. An ID removes all of its names.
func (r *Runtime) RemoveImage(ctx context.Context, ref string) error {
	remove := func(name string) error {
		err := r.client.ImageService().Delete(r.in(ctx), name, images.SynchronousDelete())
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove image %q: %w", name, err)
		}
		return nil
	}
	if full, err := runtime.NormalizeReference(ref); err == nil && !isID(ref) {
		return remove(full)
	}
	all, err := r.loadImages(ctx)
	if err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	for _, img := range all {
		if img.id != ref {
			continue
		}
		if err := remove(img.name); err != nil {
			return err
		}
	}
	return nil
}
