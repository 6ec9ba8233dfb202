package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image of a bundle.
type Image struct {
	// Name is the full reference by which nodes know it.
	Name string `json:"name"`
	// Target is its index or manifest.
	Target ocispec.Descriptor `json:"target"`
}

// nameAnnotation is where containerd looks for an image's full name.
const nameAnnotation = "io.containerd.image.name"

// indexOf is the index.json of a layout.
func indexOf(images []Image) ocispec.Index {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, i := range images {
		d := i.Target
		d.Annotations = map[string]string{nameAnnotation: i.Name, ocispec.AnnotationRefName: i.Name}
		index.Manifests = append(index.Manifests, d)
	}
	return index
}

// The media types of documents that name other blobs.
const (
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

func isIndex(d ocispec.Descriptor) bool {
	return d.MediaType == ocispec.MediaTypeImageIndex || d.MediaType == dockerList
}

func isDocument(d ocispec.Descriptor) bool {
	return isIndex(d) || d.MediaType == ocispec.MediaTypeImageManifest || d.MediaType == dockerManifest
}

// NamesBlobs tells whether a blob is an index or a manifest, which a bundle has
// in any case.
func NamesBlobs(d ocispec.Descriptor) bool { return isDocument(d) }

// layout is the layout of a bundle as its parts come.
type layout struct {
	images []Image
	// awaited are the blobs that are named and have not come.
	awaited map[digest.Digest]ocispec.Descriptor
	// optional are awaited manifests of other platforms, by the index that names
	// them; one of each must come.
	optional map[digest.Digest][]digest.Digest
	come     map[digest.Digest]bool
}

func newLayout() *layout {
	return &layout{awaited: map[digest.Digest]ocispec.Descriptor{}, optional: map[digest.Digest][]digest.Digest{}, come: map[digest.Digest]bool{}}
}

// index takes in the layout's index.json.
func (l *layout) index(text []byte) error {
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return err
	}
	for _, d := range index.Manifests {
		name := d.Annotations[nameAnnotation]
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) || len(name) > 512 {
			return fmt.Errorf("an image has the name %q", name)
		}
		if !isDocument(d) {
			return fmt.Errorf("image %s is of the type %q", name, d.MediaType)
		}
		if err := l.await(d); err != nil {
			return err
		}
		d.Annotations = nil
		l.images = append(l.images, Image{Name: name, Target: d})
	}
	return nil
}

func (l *layout) await(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 || d.Size < 0 {
		return fmt.Errorf("an image names a blob %q of %d bytes", d.Digest, d.Size)
	}
	if !l.come[d.Digest] {
		l.awaited[d.Digest] = d
	}
	return nil
}

// blob gives the descriptor of a blob that comes, which somebody must have
// named.
func (l *layout) blob(sum string, size int64) (ocispec.Descriptor, error) {
	d, ok := l.awaited[digest.NewDigestFromEncoded(digest.SHA256, sum)]
	switch {
	case !ok:
		return d, errors.New("no image names it")
	case d.Size != size:
		return d, fmt.Errorf("it has %d bytes, and an image says %d", size, d.Size)
	case isDocument(d) && size > maxDocument:
		return d, fmt.Errorf("a manifest of %d bytes", size)
	}
	delete(l.awaited, d.Digest)
	l.come[d.Digest] = true
	return d, nil
}

// document takes in an index or a manifest of an image.
func (l *layout) document(d ocispec.Descriptor, text []byte) error {
	if isIndex(d) {
		var index ocispec.Index
		if err := json.Unmarshal(text, &index); err != nil {
			return err
		}
		l.optional[d.Digest] = []digest.Digest{}
		for _, m := range index.Manifests {
			if !isDocument(m) {
				continue
			}
			l.optional[d.Digest] = append(l.optional[d.Digest], m.Digest)
			if err := l.await(m); err != nil {
				return err
			}
		}
		return nil
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return err
	}
	for _, b := range append([]ocispec.Descriptor{manifest.Config}, manifest.Layers...) {
		if isDocument(b) {
			return fmt.Errorf("a layer of the type %q", b.MediaType)
		}
		if err := l.await(b); err != nil {
			return err
		}
	}
	return nil
}

// missing are the blobs that have not come and are needed: those of the base,
// if there is one.
func (l *layout) missing() ([]ocispec.Descriptor, error) {
	other := map[digest.Digest]bool{}
	for index, manifests := range l.optional {
		if !slices.ContainsFunc(manifests, func(d digest.Digest) bool { return l.come[d] }) {
			return nil, fmt.Errorf("index %s has no manifest here", index)
		}
		for _, d := range manifests {
			other[d] = true
		}
	}
	var out []ocispec.Descriptor
	for _, d := range l.awaited {
		if isDocument(d) && other[d.Digest] {
			continue // of another platform
		}
		if isDocument(d) {
			return nil, fmt.Errorf("manifest %s is missing", d.Digest)
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b ocispec.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return out, nil
}
