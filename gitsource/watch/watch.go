// Package watch tells when the references of a repository on this machine may
// have changed: at once, and without looking when nothing has happened.
//
// git writes a reference by renaming a lock file over it, packs many into
// packed-refs, and makes directories for branches with slashes as it needs
// them. What is watched is therefore directories, and what is reported is only
// that something may have changed. A repository that goes away is waited for.
package watch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// Refs calls changed whenever a reference may have changed, until the context
// ends. gitDir has HEAD, commonDir the branches; usually they are the same.
// ready is called once the watch stands: what changes after that is seen.
func Refs(ctx context.Context, gitDir, commonDir string, ready, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", commonDir, err)
	}
	defer w.Close()
	r := &refs{watch: w.Add, gitDir: gitDir, commonDir: commonDir}
	if err := r.scan(); err != nil {
		return err
	}
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-w.Events:
			if !ok {
				return fmt.Errorf("watch %s: ended", commonDir)
			}
			if r.structural(event) {
				if err := r.scan(); err != nil {
					return err
				}
			} else if !r.relevant(event.Name) {
				continue
			}
			changed()
		case err := <-w.Errors:
			// An overflow has lost events: look at everything.
			if scanErr := r.scan(); scanErr != nil {
				return fmt.Errorf("watch %s: %w", commonDir, err)
			}
			changed()
		}
	}
}

type refs struct {
	watch             func(dir string) error // idempotent; fails where nothing is
	gitDir, commonDir string
}

// scan watches every directory that can hold a reference; of a repository that
// is not there, the nearest directory above it that is. Watching one twice
// does nothing.
func (r *refs) scan() error {
	for _, dir := range []string{r.gitDir, r.commonDir} {
		if err := r.nearest(dir); err != nil {
			return err
		}
	}
	err := filepath.WalkDir(filepath.Join(r.commonDir, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went away meanwhile: its parent tells
		}
		if !d.IsDir() {
			return nil
		}
		if err := r.watch(path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		return nil
	})
	return err
}

// nearest watches a directory, or the nearest one above it that is there.
func (r *refs) nearest(dir string) error {
	for there := dir; ; {
		err := r.watch(there)
		switch {
		case err == nil && there == dir:
			return nil
		case err == nil && !appeared(there, dir):
			return nil
		case err == nil:
			there = dir // it came between the two looks, when nobody watched
		case there == filepath.Dir(there):
			return fmt.Errorf("watch %s: %w", dir, err)
		default:
			there = filepath.Dir(there)
		}
	}
}

// appeared tells whether the next directory from above towards dir is there.
func appeared(above, dir string) bool {
	for filepath.Dir(dir) != above {
		dir = filepath.Dir(dir)
	}
	_, err := os.Lstat(dir)
	return err == nil
}

// structural tells whether directories may have come or gone.
func (r *refs) structural(e fsnotify.Event) bool {
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		return !strings.HasSuffix(e.Name, ".lock")
	}
	if !e.Has(fsnotify.Create) {
		return false
	}
	info, err := os.Lstat(e.Name)
	return err == nil && info.IsDir()
}

// relevant tells whether a file can say something about references.
func (r *refs) relevant(name string) bool {
	if strings.HasSuffix(name, ".lock") {
		return false
	}
	if strings.HasPrefix(name, filepath.Join(r.commonDir, "refs")+string(filepath.Separator)) {
		return true
	}
	base := filepath.Base(name)
	return base == "HEAD" || base == "packed-refs"
}
