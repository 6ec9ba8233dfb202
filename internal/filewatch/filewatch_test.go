package filewatch_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/headway-sh/headway/internal/filewatch"
)

// TestChangesAreSeen changes a file in every way in which administrators and
// mounted volumes do.
func TestChangesAreSeen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) { check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)) }
	link := func(target string) {
		check(os.Symlink(target, filepath.Join(dir, "next")))
		check(os.Rename(filepath.Join(dir, "next"), path))
	}
	write("config.yaml", "first")
	texts := make(chan string)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- filewatch.Run(ctx, path, func(missed error) {
			text, err := os.ReadFile(path)
			if err != nil || missed != nil {
				text = nil // as at a moment between two steps
			}
			select {
			case texts <- string(text):
			case <-ctx.Done():
			}
		})
	}()
	for _, c := range []struct {
		want   string
		change func()
	}{
		{"first", func() {}},
		{"in place", func() { write("config.yaml", "in place") }},
		{"renamed", func() { write("new", "renamed"); check(os.Rename(filepath.Join(dir, "new"), path)) }},
		{"linked", func() { write("a", "linked"); link("a") }},
		{"linked elsewhere", func() { write("b", "linked elsewhere"); link("b") }},
	} {
		c.change()
		for text := range texts {
			if text == c.want {
				break
			}
		}
	}
	stop()
	check(<-ended)
}

func TestMissingDirectoryIsAnError(t *testing.T) {
	t.Parallel()
	err := filewatch.Run(t.Context(), filepath.Join(t.TempDir(), "none", "config.yaml"), func(error) { t.Error("called") })
	if err == nil {
		t.Error("no error")
	}
}
