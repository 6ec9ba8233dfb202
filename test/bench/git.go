package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// repository is a bare repository and a clone to push from.
type repository struct{ bare, clone string }

func newRepository(ctx context.Context, dir string) (*repository, error) {
	r := &repository{filepath.Join(dir, "repo.git"), filepath.Join(dir, "clone")}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=main", r.bare},
		{"clone", "--quiet", r.bare, r.clone},
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
	cmd.Env = append(environment(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// push commits files, of which empty ones are removed whatever share of all that
// is, and pushes them; it gives when the push began and returned.
func (r *repository) push(ctx context.Context, files map[string]string) (began, returned time.Time, err error) {
	for name, text := range files {
		path := filepath.Join(r.clone, name)
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
		if err := git(ctx, r.clone, args...); err != nil {
			return began, returned, err
		}
	}
	began = time.Now()
	err = git(ctx, r.clone, "push", "--quiet", "origin", "HEAD:main")
	return began, time.Now(), err
}
