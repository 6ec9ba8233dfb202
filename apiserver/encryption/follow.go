package encryption

import (
	"context"
	"log/slog"
	"os"

	"github.com/headway-sh/headway/internal/filewatch"
)

// Follow puts the file's content into force whenever it changes, until ctx
// ends. A content that is wrong is logged, and what was in force stays. The
// file may be replaced, also by way of links.
func (r *Ring) Follow(ctx context.Context, path string, log *slog.Logger) error {
	return filewatch.Run(ctx, path, func(missed error) {
		if missed != nil {
			log.Warn("a change of the encryption configuration may have been missed", "file", path, "error", missed)
		}
		r.reload(path, log)
	})
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
