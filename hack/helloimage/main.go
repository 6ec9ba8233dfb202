// Command helloimage builds the example's web server and puts its image
// together, as an archive that `headway up` loads. Nothing is pulled.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/headway-sh/headway/examples/hello"
	"github.com/headway-sh/headway/internal/imagebuild"
)

func main() {
	out := flag.String("o", "bin/images/hello.tar", "archive to write")
	flag.Parse()
	if err := build(*out); err != nil {
		fmt.Fprintln(os.Stderr, "helloimage:", err)
		os.Exit(1)
	}
}

func build(out string) error {
	dir, err := os.MkdirTemp("", "helloimage")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "web")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "github.com/headway-sh/headway/examples/hello/web")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the web server: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(out), ".hello")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = imagebuild.WriteArchive(f, imagebuild.Image{
		Reference: hello.Image, Architecture: runtime.GOARCH,
		Files:  []imagebuild.File{{Path: "/web", Source: program, Mode: 0o755}},
		Config: v1.Config{Entrypoint: []string{"/web"}, User: "65532:65532", ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
	})
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}
