package watch

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// File calls changed whenever a file may have changed, come or gone, until the
// context ends. What is watched is its directory, or the nearest one above it
// that is there: files are replaced by renaming others over them. ready is
// called once the watch stands.
func File(ctx context.Context, path string, ready, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer w.Close()
	dir := filepath.Dir(path)
	r := &refs{watch: w.Add}
	if err := r.nearest(dir); err != nil {
		return err
	}
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-w.Events:
			switch {
			case !ok:
				return fmt.Errorf("watch %s: ended", path)
			case event.Name == path:
				changed()
			case filepath.Dir(event.Name) != dir:
				if err := r.nearest(dir); err != nil { // the directory may have come or gone
					return err
				}
				changed()
			}
		case <-w.Errors: // an overflow has lost events
			if err := r.nearest(dir); err != nil {
				return err
			}
			changed()
		}
	}
}
