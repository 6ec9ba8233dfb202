package encryption

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// Follow puts the file's content into force whenever it changes, until ctx
// ends. A content that is wrong is logged, and what was in force stays. The
// file may be replaced, also by way of links.
func (r *Ring) Follow(ctx context.Context, path string, log *slog.Logger) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer watcher.Close()
	if err := watcher.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	r.reload(path, log) // what was written before the watch began
	for {
		select {
		case <-watcher.Events:
			r.reload(path, log)
		case err := <-watcher.Errors:
			log.Warn("a change of the encryption configuration may have been missed", "file", path, "error", err)
			r.reload(path, log)
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Ring) reload(path string, log *slog.Logger) {
	changed, err := r.Change(func() ([]byte, error) { return os.ReadFile(path) })
	switch {
	case err != nil:
		log.Error("encryption configuration is wrong, the one before stays in force", "file", path, "error", err)
	case changed:
		log.Info("encryption configuration reloaded", "file", path)
	}
}
