package emulator

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// maxArchiveFile is the largest file of an archive that is read: manifests
// and configurations are smaller, layers are not wanted.
const maxArchiveFile = 4 << 20

// readArchive reads the images of a docker archive or an OCI layout.
func readArchive(archive io.Reader) ([]*image, error) {
	files, err := smallFiles(archive)
	if err != nil {
		return nil, err
	}
	var dockerEntries []struct {
		Config   string
		RepoTags []string
	}
	var index ocispec.Index
	switch {
	case files["manifest.json"] != nil:
		if err := json.Unmarshal(files["manifest.json"], &dockerEntries); err != nil {
			return nil, fmt.Errorf("read manifest.json: %w", err)
		}
	case files["index.json"] != nil:
		if err := json.Unmarshal(files["index.json"], &index); err != nil {
			return nil, fmt.Errorf("read index.json: %w", err)
		}
	default:
		return nil, errors.New("archive has neither manifest.json nor index.json")
	}
	var found []*image
	for _, entry := range dockerEntries {
		img, err := fromConfig(files[entry.Config], entry.RepoTags)
		if err != nil {
			return nil, err
		}
		found = append(found, img)
	}
	for _, entry := range index.Manifests {
		var manifest ocispec.Manifest
		if err := json.Unmarshal(files[blobPath(string(entry.Digest))], &manifest); err != nil {
			return nil, fmt.Errorf("read manifest %s: %w", entry.Digest, err)
		}
		name := entry.Annotations[ocispec.AnnotationRefName]
		img, err := fromConfig(files[blobPath(string(manifest.Config.Digest))], []string{name})
		if err != nil {
			return nil, err
		}
		found = append(found, img)
	}
	return found, nil
}

func blobPath(digest string) string {
	return path.Join("blobs", "sha256", digest[min(len(digest), len("sha256:")):])
}

func smallFiles(archive io.Reader) (map[string][]byte, error) {
	buffered := bufio.NewReader(archive)
	archive = buffered
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("read gzip: %w", err)
		}
		archive = unzipped
	}
	files := map[string][]byte{}
	for entries := tar.NewReader(archive); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read tar: %w", err)
		}
		if header.Typeflag != tar.TypeReg || header.Size > maxArchiveFile {
			continue
		}
		content, err := io.ReadAll(entries)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", header.Name, err)
		}
		files[path.Clean(header.Name)] = content
	}
}

func fromConfig(config []byte, names []string) (*image, error) {
	var spec ocispec.Image
	if err := json.Unmarshal(config, &spec); err != nil {
		return nil, fmt.Errorf("read image configuration of %v: %w", names, err)
	}
	img := &image{entrypoint: spec.Config.Entrypoint, cmd: spec.Config.Cmd}
	img.ID, img.Loaded = fmt.Sprintf("sha256:%x", sha256.Sum256(config)), true
	img.User, img.StopSignal, img.Env, img.Labels = spec.Config.User, spec.Config.StopSignal, spec.Config.Env, spec.Config.Labels
	for volume := range spec.Config.Volumes {
		img.Volumes = append(img.Volumes, volume)
	}
	img.UID = runtime.UserID(spec.Config.User)
	for _, name := range names {
		if name != "" {
			img.References = append(img.References, normalized(name))
		}
	}
	return img, nil
}
