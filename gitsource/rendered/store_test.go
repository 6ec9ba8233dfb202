package rendered_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/rendered"
	"github.com/headway-sh/headway/gitsource/repo"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func object(name string, value any) *render.Object {
	return &render.Object{
		Body: &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "n": value}},
		File: name + ".yaml", Line: 3, Chain: []string{"kustomization.yaml"}, Hook: true, Digest: fmt.Sprintf("%032x", len(name)*1000+len(fmt.Sprint(value))),
	}
}

func commit(n byte, objects ...*render.Object) *render.Set {
	return &render.Set{Commit: repo.ID{n}, Objects: objects}
}

func open(t *testing.T, dir string) *rendered.Store {
	t.Helper()
	s, err := rendered.Open(dir, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *rendered.Store, source string, set *render.Set) {
	t.Helper()
	if err := s.Put(source, set, start.Add(time.Duration(set.Commit[0])*time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, dir string) (objects int, all []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.Contains(path, "/objects/") {
			objects++
		}
		content, err := os.ReadFile(path)
		all = append(all, content...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return objects, all
}

func TestKeepsCommits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	one := commit(1, object("same", int64(7)), object("changing", "hunter2-plain"))
	two := commit(2, object("same", int64(7)), object("changing", "hunter3-plain, and longer"))
	put(t, s, "main", one)
	put(t, s, "main", two)
	put(t, s, "main", two)
	put(t, s, "other", one)
	if n, all := files(t, dir); n != 3 || bytes.Contains(all, []byte("hunter")) || bytes.Contains(all, []byte("same")) {
		t.Errorf("%d objects for 3 different ones, or plain text among %d bytes", n, len(all))
	}
	s = open(t, dir)
	for _, want := range []*render.Set{one, two} {
		got, err := s.Get("main", want.Commit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(render.Set{}, render.Object{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if _, err := s.Get("main", repo.ID{9}); !errors.Is(err, rendered.ErrNotKept) || s.Has("main", repo.ID{9}) || !s.Has("main", repo.ID{2}) {
		t.Errorf("a commit that is not kept: %v", err)
	}
	list, err := s.List("main")
	want := []rendered.Info{{Commit: repo.ID{2}, Kept: start.Add(2 * time.Minute), Objects: 2}, {Commit: repo.ID{1}, Kept: start.Add(time.Minute), Objects: 2}}
	if diff := cmp.Diff(want, list); err != nil || diff != "" {
		t.Errorf("list: %v (-want +got):\n%s", err, diff)
	}
}

func TestPruneKeepsWhatOthersHave(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	one := commit(1, object("shared", "a"), object("gone", "bb"))
	put(t, s, "main", one)
	put(t, s, "main", commit(2, object("new", "ccc")))
	put(t, s, "other", commit(3, object("shared", "a")))
	if err := s.Prune("main", func(n int, _ rendered.Info) bool { return n < 1 }); err != nil {
		t.Fatal(err)
	}
	if n, _ := files(t, dir); n != 2 || s.Has("main", one.Commit) {
		t.Errorf("%d objects are left, want 2", n)
	}
	for source, id := range map[string]repo.ID{"main": {2}, "other": {3}} {
		if _, err := s.Get(source, id); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string, content []byte) error{
		"a flipped bit": func(path string, content []byte) error {
			content[len(content)/2] ^= 1
			return os.WriteFile(path, content, 0o600)
		},
		"cut off": func(path string, content []byte) error { return os.WriteFile(path, content[:len(content)/2], 0o600) },
		"empty":   func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
	} {
		for _, part := range []string{"objects", "sets"} {
			t.Run(name+" in "+part, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				s := open(t, dir)
				set := commit(1, object("x", "y"))
				put(t, s, "main", set)
				err := filepath.WalkDir(filepath.Join(dir, part), func(path string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					content, err := os.ReadFile(path)
					if err != nil {
						return err
					}
					return damage(path, content)
				})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Get("main", set.Commit); !errors.Is(err, rendered.ErrDamaged) {
					t.Errorf("the error is %v", err)
				}
			})
		}
	}
	t.Run("another key", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		set := commit(1, object("x", "y"))
		put(t, open(t, dir), "main", set)
		s, err := rendered.Open(dir, []byte("other"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get("main", set.Commit); !errors.Is(err, rendered.ErrDamaged) {
			t.Errorf("the error is %v", err)
		}
	})
}
