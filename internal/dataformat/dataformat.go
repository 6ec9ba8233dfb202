// Package dataformat keeps a marker file in every data directory, so that a
// program does not work on data that a newer one has written in a form that it
// does not know.
package dataformat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FileName is the marker's name in the directory.
const FileName = "FORMAT"

// marker is the file's content.
type marker struct {
	Component string `json:"component"`
	Version   int    `json:"version"`
}

// NewerError says that a directory's data is of a later format.
type NewerError struct {
	Dir          string
	Component    string
	Found, Knows int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s was written by a newer headway (%s format %d, this one knows up to %d): start that version again, or restore a backup made with this one into an empty directory",
		e.Dir, e.Component, e.Found, e.Knows)
}

// Check makes sure that the directory may be used by a component that writes
// the given format version. It creates the directory (0700) and the marker when
// they are missing, and raises the marker of an older format: the caller can
// read every version up to its own. A newer format is a *NewerError, another
// component's directory an error too.
func Check(dir, component string, version int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create data directory: %w", err)
	}
	path := filepath.Join(dir, FileName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return write(path, marker{component, version})
	}
	if err != nil {
		return fmt.Errorf("read format marker: %w", err)
	}
	var found marker
	if err := json.Unmarshal(raw, &found); err != nil {
		return fmt.Errorf("read format marker %s: %w", path, err)
	}
	switch {
	case found.Component != component:
		return fmt.Errorf("%s holds data of %q, not of %q: choose another directory", dir, found.Component, component)
	case found.Version > version:
		return &NewerError{Dir: dir, Component: component, Found: found.Version, Knows: version}
	case found.Version < version:
		return write(path, marker{component, version})
	}
	return nil
}

// write replaces the marker durably.
func write(path string, m marker) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode format marker: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), FileName+".*")
	if err != nil {
		return fmt.Errorf("write format marker: %w", err)
	}
	defer os.Remove(f.Name()) // gone already after the rename
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write format marker: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write format marker: %w", err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
