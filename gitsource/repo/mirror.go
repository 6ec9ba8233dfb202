package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// OpenMirror opens the bare repository that mirrors a remote, and makes it
// when it is not there. What a fetch left that was cut short goes.
func OpenMirror(dir string) (*Repository, error) {
	for _, sub := range []string{"objects/pack", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make mirror: %w", err)
		}
	}
	for name, content := range map[string]string{"HEAD": "ref: refs/heads/main\n", "config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("make mirror: %w", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "objects", "pack", tempPack+"*"))
	if err != nil {
		return nil, fmt.Errorf("make mirror: %w", err)
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("make mirror: %w", err)
		}
	}
	return Open(dir)
}

// OpenScratch makes a repository in an empty directory that borrows all objects
// of another one, which may be nil: what is stored there is gone with the
// directory, and the other one has not changed.
func OpenScratch(dir string, from *Repository) (*Repository, error) {
	if from != nil {
		info := filepath.Join(dir, "objects", "info")
		if err := os.MkdirAll(info, 0o700); err != nil {
			return nil, fmt.Errorf("make scratch repository: %w", err)
		}
		lender, err := filepath.Abs(filepath.Join(from.commonDir, "objects"))
		if err == nil {
			err = os.WriteFile(filepath.Join(info, "alternates"), []byte(lender+"\n"), 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("make scratch repository: %w", err)
		}
	}
	return OpenMirror(dir)
}

// removeEmpty removes the directories that a removed reference leaves: they
// would be in the way of a reference of that name.
func (r *Repository) removeEmpty(name string) {
	for dir := path.Dir(name); strings.Count(dir, "/") > 1; dir = path.Dir(dir) {
		if os.Remove(filepath.Join(r.commonDir, filepath.FromSlash(dir))) != nil {
			return // not empty: others are in it
		}
	}
}

// complete tells whether what a new reference names is here: the commit, its
// tree, and its parents, as far as they are fresh; what was here before is
// whole. Without that, a remote that sends too little would be found out when
// it is too late.
func (r *Repository) complete(ctx context.Context, id ID, fresh func(ID) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	tip, err := r.peel(id)
	var other notACommit
	if errors.As(err, &other) {
		return nil // nobody can follow it
	}
	if err == nil {
		err = r.wholeHistory(ctx, tip, fresh)
	}
	if err != nil {
		return fmt.Errorf("the remote sent too little: %w", err)
	}
	return nil
}

func (r *Repository) wholeHistory(ctx context.Context, tip ID, fresh func(ID) bool) error {
	seen := map[ID]bool{tip: true}
	for at := []ID{tip}; len(at) > 0; {
		c, err := r.commit(at[0])
		if err != nil {
			return err
		}
		at = at[1:]
		if !fresh(c.ID) {
			continue
		}
		if err := r.wholeTree(ctx, c.Tree, fresh, seen, 0); err != nil {
			return fmt.Errorf("commit %s: %w", c.ID, err)
		}
		for _, p := range c.Parents {
			if !seen[p] {
				seen[p] = true
				at = append(at, p)
			}
		}
	}
	return nil
}

// maxDepth is how deep directories may lie in one another.
const maxDepth = 512

func (r *Repository) wholeTree(ctx context.Context, id ID, fresh func(ID) bool, seen map[ID]bool, depth int) error {
	if seen[id] {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("directories deeper than %d: %w", maxDepth, ErrTooLarge)
	}
	seen[id] = true
	if err := ctx.Err(); err != nil {
		return err
	}
	if !fresh(id) {
		return r.has(id)
	}
	_, content, err := r.read(plumbing.TreeObject, id, MaxTree)
	if err != nil {
		return err
	}
	entries, _, err := parseTree(content)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.Mode == Dir:
			err = r.wholeTree(ctx, e.ID, fresh, seen, depth+1)
		case e.Mode != Submodule && !fresh(e.ID):
			err = r.has(e.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Repository) has(id ID) error {
	if r.storage.HasEncodedObject(plumbing.Hash(id)) == nil {
		return nil
	}
	// What lies in a repository that this one borrows from is read only.
	if _, _, err := r.read(plumbing.AnyObject, id, MaxBlob); err != nil && !errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%s is missing", id)
	}
	return nil
}
