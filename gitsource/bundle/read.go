package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bundle is a bundle whose manifest has been read. Nothing of the rest is
// believed until Verify has read it.
type Bundle struct {
	Manifest *Manifest

	path      string
	text      []byte // of the manifest, which was signed
	signature string // empty: it is not
	freely    int64  // how many bytes any layer may inflate to
}

// Contents is what Verify has found in a bundle.
type Contents struct {
	Objects []Object
	Images  []Image
	// Needs are the blobs of its images that the base of the bundle has.
	Needs []ocispec.Descriptor
}

// Open reads the manifest of a bundle.
func Open(path string) (*Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	defer f.Close()
	b := &Bundle{path: path, freely: freelyInflated}
	if err := b.head(tar.NewReader(f)); err != nil {
		return nil, fmt.Errorf("bundle %s: %w", path, err)
	}
	return b, nil
}

// IsSigned tells whether somebody has signed it, whoever that be.
func (b *Bundle) IsSigned() bool { return b.signature != "" }

// head reads manifest and signature.
func (b *Bundle) head(archive *tar.Reader) error {
	h, err := next(archive)
	if err != nil || h.Name != manifestName {
		return errors.Join(errors.New("it is no bundle of headway: make one with headway bundle create"), err)
	}
	if b.text, err = whole(archive, h.Size, maxManifest); err != nil {
		return fmt.Errorf("read its manifest: %w", err)
	}
	if b.Manifest, err = readManifest(b.text); err != nil {
		return err
	}
	if h, err = next(archive); err != nil || h.Name != signatureName {
		return errors.Join(errors.New("the file is cut off after its manifest"), err)
	}
	signature, err := whole(archive, h.Size, maxSignature)
	if err != nil {
		return fmt.Errorf("read its signature: %w", err)
	}
	b.signature = string(signature)
	return nil
}

// next is a part's header, which must be a file's.
func next(archive *tar.Reader) (*tar.Header, error) {
	h, err := archive.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case h.Typeflag != tar.TypeReg:
		return nil, fmt.Errorf("%q is no file", h.Name)
	}
	return h, nil
}

func whole(r io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("%d bytes (limit %d)", size, limit)
	}
	content := make([]byte, size)
	_, err := io.ReadFull(r, content)
	return content, err
}

// walk reads all parts in order, checks each against the manifest, and hands
// it to see, which need not read it to the end. What see has got is only known
// to be right when walk returns.
func (b *Bundle) walk(ctx context.Context, see func(p Part, content io.Reader) error) error {
	f, err := os.Open(b.path)
	if err != nil {
		return fmt.Errorf("open bundle: %w", err)
	}
	defer f.Close()
	archive := tar.NewReader(&ending{f, ctx})
	var again Bundle
	if err := again.head(archive); err != nil {
		return fmt.Errorf("bundle %s: %w", b.path, err)
	}
	if !bytes.Equal(again.text, b.text) || again.signature != b.signature {
		return fmt.Errorf("bundle %s has changed while it was read", b.path)
	}
	for _, p := range b.Manifest.Parts {
		if err := takePart(archive, p, see); err != nil {
			return fmt.Errorf("bundle %s: %s: %w", b.path, p.Name, err)
		}
	}
	if h, err := archive.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("it has %q, of which its manifest does not know", h.Name)
		}
		return fmt.Errorf("bundle %s: %w", b.path, err)
	}
	return nil
}

func takePart(archive *tar.Reader, p Part, see func(Part, io.Reader) error) error {
	h, err := next(archive)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the file is cut off before it")
	case err != nil:
		return err
	case h.Name != p.Name:
		return fmt.Errorf("%q is in its place", h.Name)
	case h.Size != p.Size:
		return fmt.Errorf("it has %d bytes, and the manifest says %d", h.Size, p.Size)
	}
	sum := sha256.New()
	content := io.TeeReader(archive, sum)
	seen := see(p, content)
	if _, err := io.Copy(io.Discard, content); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the file is cut off in it")
		}
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != p.SHA256 {
		return errors.New("it is damaged, or was tampered with: its SHA-256 is another than the manifest's")
	}
	return seen
}

// Verify reads the whole bundle and tells what is in it. The history is copied
// to a writer.
func (b *Bundle) Verify(ctx context.Context, history io.Writer) (*Contents, error) {
	var out Contents
	images := newLayout()
	err := b.walk(ctx, func(p Part, content io.Reader) error {
		switch p.Name {
		case historyName:
			_, err := io.Copy(history, content)
			return err
		case objectsName:
			return json.NewDecoder(content).Decode(&out.Objects)
		case layoutName:
			return nil
		case indexName:
			text, err := whole(content, p.Size, maxDocument)
			if err != nil {
				return err
			}
			return images.index(text)
		}
		return b.takeBlob(images, p, content)
	})
	if err != nil {
		return nil, err
	}
	if out.Needs, err = images.missing(); err == nil && len(out.Needs) > 0 && b.Manifest.Since == "" {
		err = fmt.Errorf("blob %s of an image is missing", out.Needs[0].Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.path, err)
	}
	out.Images = images.images
	return &out, nil
}

func (b *Bundle) takeBlob(images *layout, p Part, content io.Reader) error {
	d, err := images.blob(strings.TrimPrefix(p.Name, blobPrefix), p.Size)
	if err != nil {
		return err
	}
	if !isDocument(d) {
		return inflate(d, content, b.freely)
	}
	text, err := whole(content, p.Size, maxDocument)
	if err != nil {
		return err
	}
	return images.document(d, text)
}

// A layer may inflate to a gigabyte, or else to so many times its size.
const (
	freelyInflated = 1 << 30
	mostInflated   = 200
)

// inflate reads a layer to its end, so that one that fills disks is found
// before a node unpacks it.
func inflate(d ocispec.Descriptor, content io.Reader, freely int64) error {
	var err error
	buffered := bufio.NewReader(content)
	magic, _ := buffered.Peek(4) // which tells, whatever its type says; nodes look at it too
	switch content = buffered; {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		content, err = gzip.NewReader(content)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var reader *zstd.Decoder
		if reader, err = zstd.NewReader(content, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20)); err == nil {
			defer reader.Close()
			content = reader
		}
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("a layer: %w", err)
	}
	limit := max(freely, mostInflated*d.Size)
	switch n, err := io.Copy(io.Discard, io.LimitReader(content, limit+1)); {
	case err != nil:
		return fmt.Errorf("a layer: %w", err)
	case n > limit:
		return fmt.Errorf("a layer of %d bytes inflates to more than %d", d.Size, limit)
	}
	return nil
}

// Layout writes the images as a tar archive of an OCI image layout.
func (b *Bundle) Layout(ctx context.Context, w io.Writer) error {
	archive := tar.NewWriter(w)
	err := b.walk(ctx, func(p Part, content io.Reader) error {
		name, ok := strings.CutPrefix(p.Name, ImagesPrefix)
		if !ok {
			return nil
		}
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: p.Size, Mode: 0o644}); err != nil {
			return err
		}
		_, err := io.Copy(archive, content)
		return err
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

// ending is a reader that ends with a context.
type ending struct {
	io.Reader
	ctx context.Context // of the one thing that is read
}

func (e *ending) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.Reader.Read(p)
}
