package imageblobs

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Archives are images that lie in archives: OCI layouts, or what docker save
// writes. Blobs have the digests that a node gives them when it loads the same
// archive.
type Archives struct {
	Store content.Store
	// Images are the targets by the names in the archives.
	Images map[string]ocispec.Descriptor
}

// ReadArchives reads the archives (*.tar, *.tar.gz, *.tgz) of a directory. Their
// blobs are copied into another one, which is left to the caller to remove.
func ReadArchives(ctx context.Context, dir, scratch string) (*Archives, error) {
	var files []string
	for _, pattern := range []string{"*.tar", "*.tar.gz", "*.tgz"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no image archives (*.tar, *.tar.gz, *.tgz)", dir)
	}
	store, err := local.NewLabeledStore(scratch, &labels{of: map[digest.Digest]map[string]string{}})
	if err != nil {
		return nil, err
	}
	a := &Archives{Store: store, Images: map[string]ocispec.Descriptor{}}
	for _, file := range files {
		if err := a.add(ctx, file); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	}
	return a, nil
}

func (a *Archives) add(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var from io.Reader = bufio.NewReader(f)
	if magic, err := from.(*bufio.Reader).Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		if from, err = gzip.NewReader(from); err != nil {
			return err
		}
	}
	target, err := archive.ImportIndex(ctx, a.Store, from)
	if err != nil {
		return err
	}
	index, err := readIndex(ctx, a.Store, target)
	if err != nil {
		return err
	}
	for _, m := range index.Manifests {
		for _, key := range []string{images.AnnotationImageName, ocispec.AnnotationRefName} {
			if name := m.Annotations[key]; name != "" {
				m.Annotations = nil
				a.Images[name] = m
				break
			}
		}
	}
	return nil
}

// labels keeps what the importer notes of blobs.
type labels struct {
	mu sync.Mutex // guards of
	of map[digest.Digest]map[string]string
}

var _ local.LabelStore = (*labels)(nil)

// Get implements local.LabelStore.
func (l *labels) Get(d digest.Digest) (map[string]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.of[d]), nil
}

// Set implements local.LabelStore.
func (l *labels) Set(d digest.Digest, to map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[d] = maps.Clone(to)
	return nil
}

// Update implements local.LabelStore: empty values take a label away.
func (l *labels) Update(d digest.Digest, change map[string]string) (map[string]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := maps.Clone(l.of[d])
	if now == nil {
		now = map[string]string{}
	}
	maps.Copy(now, change)
	maps.DeleteFunc(now, func(_, v string) bool { return v == "" })
	l.of[d] = now
	return maps.Clone(now), nil
}

// Names are those of all images.
func (a *Archives) Names() []string { return slices.Sorted(maps.Keys(a.Images)) }
