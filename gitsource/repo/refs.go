package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// Refs gives the references whose full names are wanted, annotated tags
// followed to their commits.
func (r *Repository) Refs(wanted func(name string) bool) (map[string]ID, error) {
	all, err := r.references()
	if err != nil {
		return nil, err
	}
	out := map[string]ID{}
	for name, id := range all {
		if !wanted(name) {
			continue
		}
		if commit, err := r.peeled(id); err == nil {
			out[name] = commit
		}
	}
	return out, nil
}

func (r *Repository) peeled(id ID) (ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peel(id)
}

// references gives the repository's references but HEAD. They are read here
// and not by the library, which takes the lock files for references that git,
// or we ourselves, are just about to move.
func (r *Repository) references() (map[string]ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := map[string]ID{}
	packed, err := os.ReadFile(filepath.Join(r.commonDir, "packed-refs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read references: %w", err)
	}
	for line := range strings.Lines(string(packed)) {
		if hash, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			if id, err := ParseID(hash); err == nil {
				have[name] = id
			}
		}
	}
	err = filepath.WalkDir(filepath.Join(r.commonDir, "refs"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went meanwhile
		case err != nil:
			return err
		case !d.Type().IsRegular() || strings.HasSuffix(path, ".lock"):
			return nil
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(r.commonDir, path)
		if err != nil {
			return err
		}
		// Symbolic references say nothing of their own.
		if id, err := ParseID(strings.TrimSpace(string(content))); err == nil {
			have[filepath.ToSlash(name)] = id
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read references: %w", err)
	}
	return have, nil
}

// moveRefs makes the mirror's references those of the remote. Those that are
// gone go first: a branch a/b can take the place of a branch a.
func (r *Repository) moveRefs(have, wanted map[string]ID, adv *packp.AdvRefs) (moved bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range have {
		if _, ok := wanted[name]; ok || strings.HasPrefix(name, ReportPrefix) {
			continue
		}
		if err := r.storage.RemoveReference(plumbing.ReferenceName(name)); err != nil {
			return moved, fmt.Errorf("remove %s: %w", name, err)
		}
		r.removeEmpty(name)
		moved = true
	}
	for name, id := range wanted {
		if have[name] == id {
			continue
		}
		if err := r.storage.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(name), plumbing.Hash(id))); err != nil {
			return moved, fmt.Errorf("move %s: %w", name, err)
		}
		moved = true
	}
	headMoved, err := r.moveHead(adv)
	return moved || headMoved, err
}

// moveHead has the mirror's HEAD name the branch that the remote's does.
func (r *Repository) moveHead(adv *packp.AdvRefs) (moved bool, err error) {
	all, err := adv.AllReferences()
	if err != nil {
		return false, nil // without a symbolic HEAD the mirror keeps its own
	}
	head, err := all.Reference(plumbing.HEAD)
	if err != nil || head.Type() != plumbing.SymbolicReference || !strings.HasPrefix(head.Target().String(), "refs/heads/") || invalidName(head.Target().String()) != nil {
		return false, nil
	}
	if now, err := r.storage.Reference(plumbing.HEAD); err == nil && now.Target() == head.Target() {
		return false, nil
	}
	return true, r.storage.SetReference(head)
}
