package watch

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A repository that comes back between the look at it and the look above it,
// when nobody watches for it yet, is found all the same.
func TestComingBackBetweenTwoLooks(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "r.git")
	var watched []string
	r := &refs{gitDir: dir, commonDir: dir}
	r.watch = func(path string) error {
		_, err := os.Lstat(path)
		if err == nil {
			watched = append(watched, path)
		} else if path == filepath.Dir(dir) {
			// It comes after the nearest look has failed, before the one above.
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		return err
	}
	if err := r.nearest(dir); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(watched, dir) {
		t.Errorf("watched %v, not %s", watched, dir)
	}
}
