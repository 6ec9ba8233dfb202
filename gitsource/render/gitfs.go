package render

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/repo"
)

// gitFS is the tree of a commit as a read-only file system whose root is the
// repository's. It notes what was looked at, so that a later commit can tell
// whether anything of it has changed.
type gitFS struct {
	run     *run
	dir     string // of the kustomization that is built
	looked  map[string]string
	owners  owners
	refused []v1alpha1.Problem
	// Of the encrypted files that were read.
	secrets []string
	keyless bool
	sealed  []string
	lent    bool
	// Encrypted files of which only what is plain was read; with whole, none is.
	peeked map[string]bool
	whole  bool
	// The kustomizations that were read by directory, the ways of files through
	// them, and the texts that were read.
	overlays map[string]*overlay
	through  map[string][][]*overlay
	texts    map[string]string
}

var _ filesys.FileSystem = (*gitFS)(nil)

var errReadOnly = errors.New("a commit cannot be written to")

// see looks a path up and notes what was found.
func (g *gitFS) see(name string) (string, repo.Entry, error) {
	name = inside(name)
	resolved, e, err := g.run.cfg.Repo.Lookup(g.run.entries, g.run.root, name)
	g.looked[name] = seen(e, err)
	if err == nil && e.Mode == repo.File {
		g.owners.add(g.run.cfg.Owner, name, resolved)
	}
	return resolved, e, err
}

// seen says in a word what was found at a path. Directories count by the
// entries looked up in them and not by their content.
func seen(e repo.Entry, err error) string {
	switch {
	case err != nil:
		return "none"
	case e.Mode == repo.Dir:
		return "dir"
	}
	return e.ID.String()
}

// unchanged tells whether everything a build has looked at is as it was.
func (u *run) unchanged(b *built) bool {
	if b.keyless {
		return false
	}
	for name, was := range b.looked {
		name, listing := strings.CutSuffix(name, "/*")
		_, e, err := u.cfg.Repo.Lookup(u.entries, u.root, name)
		if listing && err == nil && e.ID.String() == was {
			continue
		}
		if listing || seen(e, err) != was {
			return false
		}
	}
	return true
}

// inside makes a path relative to the repository's root; nothing leads above it.
func inside(name string) string {
	if name = strings.TrimPrefix(path.Join("/", name), "/"); name == "" {
		return "."
	}
	return name
}

func (g *gitFS) ReadFile(name string) ([]byte, error) {
	resolved, e, err := g.see(name)
	if err != nil {
		return nil, err
	}
	if e.Mode != repo.File {
		return nil, fmt.Errorf("%s is not a file", inside(name))
	}
	content, err := g.run.cfg.Repo.Blob(e.ID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", resolved, err)
	}
	if plain, ok := g.peek(resolved, content); ok {
		return plain, nil
	}
	content, r := g.run.plain(resolved, content, true)
	g.secrets, g.keyless = append(g.secrets, r.secrets...), g.keyless || r.keyless
	g.sealed, g.lent = append(g.sealed, r.sealed...), g.lent || r.lent
	if len(r.problems) > 0 {
		g.refused = append(g.refused, r.problems...)
		return nil, fmt.Errorf("%s: refused", resolved)
	}
	if isKustomization(path.Base(name)) || bytes.Contains(content, []byte("apiVersion: builtin")) {
		bad := offLimits(resolved, content, func(name string) error {
			_, _, err := g.see(name)
			return err
		})
		if len(bad) > 0 {
			g.refused = append(g.refused, bad...)
			return nil, fmt.Errorf("%s: refused", resolved)
		}
	}
	if isKustomization(path.Base(name)) {
		g.note(inside(name), content)
	} else if g.texts == nil {
		g.texts = map[string]string{inside(name): string(content)}
	} else {
		g.texts[inside(name)] = string(content)
	}
	if isKustomization(path.Base(name)) && path.Dir(inside(name)) == g.dir {
		return askOrigins(content), nil
	}
	return content, nil
}

// askOrigins makes a kustomization tell which file each object comes from.
func askOrigins(content []byte) []byte {
	var k map[string]any
	if yaml.Unmarshal(content, &k) != nil || k == nil {
		return content
	}
	metadata, _ := k["buildMetadata"].([]any)
	k["buildMetadata"] = append(metadata, "originAnnotations")
	changed, err := yaml.Marshal(k)
	if err != nil {
		return content
	}
	return changed
}

// parsed gives the documents of a file in the tree; it is only asked about
// files that were read before.
func (g *gitFS) parsed(file string) []*Object {
	_, e, err := g.run.cfg.Repo.Lookup(g.run.entries, g.run.root, file)
	if err != nil || e.Mode != repo.File {
		return nil
	}
	got, err := g.run.parsed(file, e.ID)
	if err != nil {
		return nil
	}
	return got.objects
}

func (g *gitFS) IsDir(name string) bool {
	_, e, err := g.see(name)
	return err == nil && e.Mode == repo.Dir
}

func (g *gitFS) Exists(name string) bool {
	_, _, err := g.see(name)
	return err == nil
}

func (g *gitFS) ReadDir(name string) ([]string, error) {
	_, e, err := g.see(name)
	if err != nil {
		return nil, err
	}
	g.looked[inside(name)+"/*"] = e.ID.String()
	entries, err := g.run.entries(e.ID)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name
	}
	return names, err
}

func (g *gitFS) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	resolved, e, err := g.see(name)
	if err != nil {
		return "", "", err
	}
	full := path.Join("/", resolved)
	if e.Mode == repo.Dir {
		return filesys.ConfirmedDir(full), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(full)), path.Base(full), nil
}

func (g *gitFS) Glob(pattern string) ([]string, error) {
	names, err := g.ReadDir(path.Dir(pattern))
	if err != nil {
		return nil, nil // as a pattern that matches nothing
	}
	var out []string
	for _, name := range names {
		if full := path.Join(path.Dir(pattern), name); matches(pattern, full) {
			out = append(out, full)
		}
	}
	return out, nil
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func (g *gitFS) Open(string) (filesys.File, error)    { return nil, errReadOnly }
func (g *gitFS) Create(string) (filesys.File, error)  { return nil, errReadOnly }
func (g *gitFS) Mkdir(string) error                   { return errReadOnly }
func (g *gitFS) MkdirAll(string) error                { return errReadOnly }
func (g *gitFS) RemoveAll(string) error               { return errReadOnly }
func (g *gitFS) WriteFile(string, []byte) error       { return errReadOnly }
func (g *gitFS) Walk(string, filepath.WalkFunc) error { return fs.ErrInvalid }
