package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// loadedImage is one name of an image with what its blobs say.
type loadedImage struct {
	name    string
	target  digest.Digest
	id      string // the configuration's digest
	chainID string // the snapshot of all layers
	size    int64
	loaded  bool
	config  ocispec.Image
}

// imageCache keeps what blobs say: they never change.
type imageCache struct {
	mu       sync.Mutex // guards all below
	byTarget map[digest.Digest]loadedImage
	userByID map[string]userFiles
	// parts are what images that were served are made of.
	parts map[digest.Digest][]ocispec.Descriptor
	// within are the names of images in which blobs were found to serve.
	within map[digest.Digest]string
}

func (r *Runtime) loadImage(ctx context.Context, record images.Image) (*loadedImage, error) {
	c := &r.images
	c.mu.Lock()
	img, ok := c.byTarget[record.Target.Digest]
	c.mu.Unlock()
	if !ok {
		var err error
		if img, err = readImage(r.in(ctx), r.client.ContentStore(), record); err != nil {
			return nil, fmt.Errorf("image %q: %w", record.Name, err)
		}
		c.mu.Lock()
		if c.byTarget == nil {
			c.byTarget = map[digest.Digest]loadedImage{}
		}
		c.byTarget[record.Target.Digest] = img
		c.mu.Unlock()
	}
	img.name, img.loaded = record.Name, record.Labels[loadedLabel] != ""
	return &img, nil
}

func readImage(ctx context.Context, store content.Store, record images.Image) (loadedImage, error) {
	manifest, err := images.Manifest(ctx, store, record.Target, platforms.Default())
	if err != nil {
		return loadedImage{}, err
	}
	text, err := content.ReadBlob(ctx, store, manifest.Config)
	if err != nil {
		return loadedImage{}, err
	}
	img := loadedImage{target: record.Target.Digest, id: manifest.Config.Digest.String(), size: manifest.Config.Size}
	if err := json.Unmarshal(text, &img.config); err != nil {
		return loadedImage{}, fmt.Errorf("read configuration: %w", err)
	}
	img.chainID = identity.ChainID(img.config.RootFS.DiffIDs).String()
	for _, layer := range manifest.Layers {
		img.size += layer.Size
	}
	return img, nil
}

// users are the image's user files, read once from a prepared root file
// system's layers.
func (c *imageCache) users(id string, rootfs []mount.Mount) userFiles {
	c.mu.Lock()
	defer c.mu.Unlock()
	if files, ok := c.userByID[id]; ok {
		return files
	}
	files := readUserFiles(layersOf(rootfs))
	if c.userByID == nil {
		c.userByID = map[string]userFiles{}
	}
	c.userByID[id] = files
	return files
}

// layersOf are the read-only directories below an overlay, uppermost first.
func layersOf(rootfs []mount.Mount) []string {
	for _, m := range rootfs {
		if m.Type == "bind" {
			return []string{m.Source}
		}
		for _, option := range m.Options {
			if dirs, ok := strings.CutPrefix(option, "lowerdir="); ok {
				return strings.Split(dirs, ":")
			}
		}
	}
	return nil
}

// references are the name and the digest in its repository.
func (img *loadedImage) references() []string {
	named, err := reference.ParseNormalizedNamed(img.name)
	if err != nil {
		return []string{img.name}
	}
	refs := []string{reference.TrimNamed(named).Name() + "@" + img.target.String()}
	if _, ok := named.(reference.Tagged); ok {
		refs = append([]string{img.name}, refs...)
	}
	return refs
}

func (img *loadedImage) image() runtime.Image {
	c := img.config.Config
	out := runtime.Image{
		ID: img.id, Size: img.size, User: c.User, UID: runtime.UserID(c.User),
		StopSignal: c.StopSignal, Env: c.Env, Labels: c.Labels,
	}
	for volume := range c.Volumes {
		out.Volumes = append(out.Volumes, volume)
	}
	return out
}
