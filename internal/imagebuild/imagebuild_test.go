package imagebuild_test

import (
	"bytes"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/headway-sh/headway/internal/imagebuild"
)

func TestArchiveReadsBackAndIsDeterministic(t *testing.T) {
	t.Parallel()
	in := imagebuild.Image{
		Reference: "hello:v1", Architecture: "amd64",
		Files:  []imagebuild.File{{Path: "/bin/hello", Content: []byte("program"), Mode: 0o755}, {Path: "/usr/bin/hi", Link: "/bin/hello"}},
		Config: v1.Config{Entrypoint: []string{"/bin/hello"}, User: "1000"},
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := imagebuild.WriteArchive(out, in); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same input gave different archives")
	}
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(first.Bytes())), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "1000" || config.Architecture != "amd64" || config.OS != "linux" {
		t.Errorf("configuration %+v", config)
	}
}
