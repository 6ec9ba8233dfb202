package emulator

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

type image struct {
	runtime.Image
	entrypoint, cmd []string
}

// AddImage makes an image present.
func (r *Runtime) AddImage(img runtime.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addImage(img)
}

func (r *Runtime) addImage(img runtime.Image) {
	refs := make([]string, 0, len(img.References))
	for _, ref := range img.References {
		refs = append(refs, normalized(ref))
	}
	img.References = refs
	r.images[img.ID] = &image{Image: img}
}

// SetEntrypoint says what a present image runs when a container does not say.
func (r *Runtime) SetEntrypoint(ref string, entrypoint, cmd []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if img := r.findImage(ref); img != nil {
		img.entrypoint, img.cmd = entrypoint, cmd
	}
}

// AddRemote makes an image that Pull finds by any of its references.
func (r *Runtime) AddRemote(img runtime.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ref := range img.References {
		r.registry[normalized(ref)] = img
	}
}

// SetProgram says what containers of the image with this reference run.
func (r *Runtime) SetProgram(ref string, program Program) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.programs[normalized(ref)] = program
}

func normalized(ref string) string {
	if full, err := runtime.NormalizeReference(ref); err == nil {
		return full
	}
	return ref
}

// findImage finds by ID or reference. mu is held.
func (r *Runtime) findImage(ref string) *image {
	if img := r.images[ref]; img != nil {
		return img
	}
	full := normalized(ref)
	for _, img := range r.images {
		if slices.Contains(img.References, full) {
			return img
		}
	}
	return nil
}

// Pull implements runtime.Images; it finds images of AddRemote.
func (r *Runtime) Pull(ctx context.Context, ref string, credentials []runtime.Credentials) (runtime.Pulled, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Pull", ref); err != nil {
		return runtime.Pulled{}, err
	}
	full, err := runtime.NormalizeReference(ref)
	if err != nil {
		return runtime.Pulled{}, err
	}
	img, ok := r.registry[full]
	if !ok {
		return runtime.Pulled{}, fmt.Errorf("pull image %q: not found", ref)
	}
	p := runtime.Pulled{}
	if user := r.private[full]; user != "" {
		at := slices.IndexFunc(credentials, func(c runtime.Credentials) bool { return c.Username == user })
		if at < 0 {
			return p, fmt.Errorf("pull image %q: 401 Unauthorized", ref)
		}
		p.Credentials = &credentials[at]
	}
	r.addImage(img)
	p.Image = r.images[img.ID].Image
	return p, nil
}

// SetPrivate makes images of AddRemote with this reference want a user.
func (r *Runtime) SetPrivate(ref, user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.private[normalized(ref)] = user
}

// Image implements runtime.Images.
func (r *Runtime) Image(ctx context.Context, ref string) (runtime.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Image", ref); err != nil {
		return runtime.Image{}, err
	}
	if img := r.findImage(ref); img != nil {
		return img.Image, nil
	}
	return runtime.Image{}, fmt.Errorf("image %q: %w", ref, runtime.ErrImageNotFound)
}

// ListImages implements runtime.Images.
func (r *Runtime) ListImages(ctx context.Context) ([]runtime.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "ListImages", ""); err != nil {
		return nil, err
	}
	var list []runtime.Image
	for _, id := range slices.Sorted(maps.Keys(r.images)) {
		list = append(list, r.images[id].Image)
	}
	return list, nil
}

// Import implements runtime.Images: it reads what imagebuild and docker write,
// but keeps only names and configuration, no layer.
func (r *Runtime) Import(ctx context.Context, archive io.Reader) ([]runtime.Image, error) {
	r.mu.Lock()
	err := r.enter(ctx, "Import", "")
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	found, err := readArchive(archive)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []runtime.Image
	for _, img := range found {
		r.images[img.ID] = img
		list = append(list, img.Image)
	}
	return list, nil
}

// RemoveImage implements runtime.Images.
func (r *Runtime) RemoveImage(ctx context.Context, ref string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "RemoveImage", ref); err != nil {
		return err
	}
	img := r.findImage(ref)
	if img == nil {
		return nil
	}
	full := normalized(ref)
	img.References = slices.DeleteFunc(slices.Clone(img.References), func(have string) bool { return have == full })
	if ref == img.ID || len(img.References) == 0 {
		delete(r.images, img.ID)
	}
	return nil
}
