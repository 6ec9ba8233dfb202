package filewatch

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// Run calls changed once when it begins to watch, and again whenever something
// in the file's directory changes, until ctx ends: the file may be written in
// place, renamed into its place, or be a link whose target is another one now.
// Whether its content is another one is for changed to find out. missed is set
// when changes may have been missed before this call.
func Run(ctx context.Context, path string, changed func(missed error)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer watcher.Close()
	if err := watcher.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	changed(nil) // what was written before the watch began
	for {
		select {
		case <-watcher.Events:
			changed(nil)
		case err := <-watcher.Errors:
			changed(err)
		case <-ctx.Done():
			return nil
		}
	}
}
