// Package imagebuild puts container images together from files, without a
// builder or a registry: one layer of static binaries and data, written as an
// archive that container runtimes import. The same input gives the same bytes.
package imagebuild

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is one file, directory or link of an image.
type File struct {
	// Path is absolute; directories above it are made.
	Path string
	// Content, or the file at Source when not empty.
	Content []byte
	Source  string
	// Link makes it a symbolic link to this path.
	Link string
	// Mode is 0644 when zero; fs.ModeDir makes it a directory.
	Mode fs.FileMode
}

// Image describes an image.
type Image struct {
	// Reference names it, such as "hello:v1".
	Reference string
	Files     []File
	// Config is entrypoint, environment, user and so on.
	Config v1.Config
	// Architecture is Go's word for it.
	Architecture string
}

// Build puts the image together.
func Build(in Image) (v1.Image, error) {
	layer, err := layerOf(in.Files)
	if err != nil {
		return nil, fmt.Errorf("build image %q: %w", in.Reference, err)
	}
	built, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("build image %q: %w", in.Reference, err)
	}
	file, err := built.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("build image %q: %w", in.Reference, err)
	}
	file = file.DeepCopy()
	file.Config, file.OS, file.Architecture = in.Config, "linux", in.Architecture
	if built, err = mutate.ConfigFile(built, file); err != nil {
		return nil, fmt.Errorf("build image %q: %w", in.Reference, err)
	}
	return built, nil
}

// WriteArchive builds the image and writes it as a docker archive.
func WriteArchive(w io.Writer, in Image) error {
	built, err := Build(in)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(in.Reference)
	if err != nil {
		return fmt.Errorf("name image %q: %w", in.Reference, err)
	}
	if err := tarball.Write(tag, built, w); err != nil {
		return fmt.Errorf("write image %q: %w", in.Reference, err)
	}
	return nil
}

func layerOf(files []File) (v1.Layer, error) {
	var layer bytes.Buffer
	out := tar.NewWriter(&layer)
	made := map[string]bool{".": true}
	for _, f := range files {
		if err := add(out, made, f); err != nil {
			return nil, fmt.Errorf("add %s: %w", f.Path, err)
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	})
}

func add(out *tar.Writer, made map[string]bool, f File) error {
	at := strings.TrimPrefix(path.Clean("/"+f.Path), "/")
	if err := addParents(out, made, path.Dir(at)); err != nil {
		return err
	}
	header := &tar.Header{Name: at, Mode: int64(f.Mode.Perm()), ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg}
	content := f.Content
	switch {
	case f.Mode.IsDir():
		header.Typeflag, header.Name, content = tar.TypeDir, at+"/", nil
		made[at] = true
	case f.Link != "":
		header.Typeflag, header.Linkname, content = tar.TypeSymlink, f.Link, nil
	case f.Source != "":
		var err error
		if content, err = os.ReadFile(f.Source); err != nil {
			return err
		}
	}
	if header.Mode == 0 {
		header.Mode = 0o644
	}
	if f.Mode&fs.ModeSticky != 0 {
		header.Mode |= 0o1000
	}
	header.Size = int64(len(content))
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := out.Write(content)
	return err
}

func addParents(out *tar.Writer, made map[string]bool, dir string) error {
	var missing []string
	for ; !made[dir]; dir = path.Dir(dir) {
		missing = append(missing, dir)
		made[dir] = true
	}
	slices.Reverse(missing)
	for _, dir := range missing {
		header := &tar.Header{Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0), Typeflag: tar.TypeDir}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
	}
	return nil
}
