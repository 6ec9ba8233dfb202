package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/ssh"

	"github.com/headway-sh/headway/gitsource/verify"
)

// Content is what a bundle is made of.
type Content struct {
	// Manifest is complete but for the version and the parts.
	Manifest Manifest
	// History is the file with the git bundle.
	History string
	// Objects is what the commit renders to.
	Objects []Object
	// Images, by name; Blobs are theirs, without those that the base has, each
	// once and after what names it.
	Images []Image
	Blobs  []ocispec.Descriptor
	// Open reads a blob.
	Open func(ctx context.Context, blob ocispec.Descriptor) (io.ReadCloser, error)
}

// source is a part and where its content comes from.
type source struct {
	Part
	open func(ctx context.Context) (io.ReadCloser, error)
}

// Write writes a bundle. Without a key it is not signed. It gives the manifest.
func Write(ctx context.Context, w io.Writer, c *Content, key ssh.Signer) (*Manifest, error) {
	parts, err := c.parts()
	if err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	m := c.Manifest
	m.Version, m.Images, m.Parts = Version, len(parts) > 2, nil
	for _, p := range parts {
		m.Parts = append(m.Parts, p.Part)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	signature := ""
	if key != nil {
		if signature, err = verify.SignSSH(key, Namespace, text); err != nil {
			return nil, err
		}
	}
	head := []source{memory(manifestName, text), memory(signatureName, []byte(signature))}
	archive := tar.NewWriter(w)
	for _, p := range slices.Concat(head, parts) {
		if err := p.write(ctx, archive); err != nil {
			return nil, fmt.Errorf("write %s of the bundle: %w", p.Name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return &m, nil
}

// parts are all but the manifest and its signature.
func (c *Content) parts() ([]source, error) {
	history, err := summed(c.History)
	if err != nil {
		return nil, err
	}
	objects, err := json.Marshal(c.Objects)
	if err != nil {
		return nil, err
	}
	out := []source{history, memory(objectsName, objects)}
	if c.Images == nil {
		return out, nil
	}
	index, err := json.Marshal(indexOf(c.Images))
	if err != nil {
		return nil, err
	}
	out = append(out, memory(layoutName, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`)), memory(indexName, index))
	for _, blob := range c.Blobs {
		out = append(out, source{
			Part{blobPrefix + blob.Digest.Encoded(), blob.Size, blob.Digest.Encoded()},
			func(ctx context.Context) (io.ReadCloser, error) { return c.Open(ctx, blob) },
		})
	}
	return out, nil
}

func memory(name string, content []byte) source {
	sum := sha256.Sum256(content)
	return source{
		Part{name, int64(len(content)), hex.EncodeToString(sum[:])},
		func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
	}
}

// summed is the part with the history.
func summed(path string) (source, error) {
	open := func(context.Context) (io.ReadCloser, error) { return os.Open(path) }
	f, err := os.Open(path)
	if err != nil {
		return source{}, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	return source{Part{historyName, size, hex.EncodeToString(sum.Sum(nil))}, open}, err
}

func (s *source) write(ctx context.Context, archive *tar.Writer) error {
	from, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: s.Name, Size: s.Size, Mode: 0o644, Format: tar.FormatPAX}); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(archive, io.TeeReader(&ending{from, ctx}, sum))
	switch {
	case err != nil:
		return err
	case n != s.Size || hex.EncodeToString(sum.Sum(nil)) != s.SHA256:
		return fmt.Errorf("%d bytes of something else than what was expected", n)
	}
	return nil
}
