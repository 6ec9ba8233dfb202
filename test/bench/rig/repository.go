package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Repository is a bare repository and a clone to push from.
type Repository struct {
	// Bare and Clone are their paths.
	Bare, Clone string
}

// NewRepository makes them in a directory.
func NewRepository(ctx context.Context, dir string) (*Repository, error) {
	r := &Repository{filepath.Join(dir, "repo.git"), filepath.Join(dir, "clone")}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=main", r.Bare},
		{"clone", "--quiet", r.Bare, r.Clone},
	} {
		if err := git(ctx, "/", args...); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0"}, args...)...)
	cmd.Dir = dir
	// Only what is written here decides, not the machine's settings.
	cmd.Env = append(Environment(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Push commits files, of which empty ones are removed whatever share of all that
// is, and pushes them; it gives when the push began and returned.
func (r *Repository) Push(ctx context.Context, files map[string]string) (began, returned time.Time, err error) {
	return r.PushTo(ctx, "main", files)
}

// PushTo does the same with another reference.
func (r *Repository) PushTo(ctx context.Context, ref string, files map[string]string) (began, returned time.Time, err error) {
	for name, text := range files {
		path := filepath.Join(r.Clone, name)
		if text == "" {
			if err := os.Remove(path); err != nil {
				return began, returned, err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return began, returned, err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return began, returned, err
		}
	}
	for _, args := range [][]string{{"add", "-A"}, {"commit", "--quiet", "-m", "change\n\nAllow-Delete: all"}} {
		if err := git(ctx, r.Clone, args...); err != nil {
			return began, returned, err
		}
	}
	began = time.Now()
	err = git(ctx, r.Clone, "push", "--quiet", "origin", "HEAD:"+ref)
	return began, time.Now(), err
}
