package repo

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Restore writes a commit on top of c.Parent in which the given paths, files or
// directories, are as they are in another commit; c.Files is not looked at. The
// rest stays. No reference is changed.
func (r *Repository) Restore(c NewCommit, from ID, paths []string) (ID, error) {
	parent, err := r.Commit(c.Parent)
	if err != nil {
		return ID{}, err
	}
	source, err := r.Commit(from)
	if err != nil {
		return ID{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	root := parent.Tree
	for _, p := range paths {
		if p = path.Clean(p); p == "." {
			root = source.Tree
			break
		}
		if root, err = r.graft(root, source.Tree, strings.Split(p, "/")); err != nil {
			return ID{}, fmt.Errorf("restore %s: %w", p, err)
		}
	}
	if root.IsZero() {
		if root, err = r.writeObject(plumbing.TreeObject, nil); err != nil {
			return ID{}, err
		}
	}
	return r.writeCommit(c, root)
}

// graft gives the tree in which what lies at a path is that of another tree.
// The zero ID stands for an empty tree.
func (r *Repository) graft(onto, from ID, parts []string) (ID, error) {
	entries, err := r.rawTree(onto)
	if err != nil {
		return ID{}, err
	}
	others, err := r.rawTree(from)
	if err != nil {
		return ID{}, err
	}
	name := parts[0]
	at := slices.IndexFunc(entries, func(e rawEntry) bool { return e.name == name })
	other := slices.IndexFunc(others, func(e rawEntry) bool { return e.name == name })
	var next rawEntry // its id is zero when nothing shall be there
	if other >= 0 {
		next = others[other]
	}
	if len(parts) > 1 {
		var below, theirs ID
		if at >= 0 && entries[at].dir() {
			below = entries[at].id
		}
		if other >= 0 && others[other].dir() {
			theirs = others[other].id
		}
		id, err := r.graft(below, theirs, parts[1:])
		if err != nil {
			return ID{}, err
		}
		next = rawEntry{mode: "40000", name: name, id: id}
	}
	switch {
	case next.id.IsZero() && at >= 0:
		entries = slices.Delete(entries, at, at+1)
	case next.id.IsZero():
	case at >= 0:
		entries[at] = next
	default:
		entries = append(entries, next)
	}
	if len(entries) == 0 {
		return ID{}, nil
	}
	slices.SortFunc(entries, func(a, b rawEntry) int { return strings.Compare(a.sort(), b.sort()) })
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s\x00", e.mode, e.name)
		b.Write(e.id[:])
	}
	return r.writeObject(plumbing.TreeObject, b.Bytes())
}

// rawEntry is an entry of a tree as it is, whatever its name and mode.
type rawEntry struct {
	mode, name string
	id         ID
}

func (e rawEntry) dir() bool { return strings.TrimLeft(e.mode, "0") == "40000" }

// sort is the key of git's order, in which directories end with a slash.
func (e rawEntry) sort() string {
	if e.dir() {
		return e.name + "/"
	}
	return e.name
}

func (r *Repository) rawTree(id ID) ([]rawEntry, error) {
	if id.IsZero() {
		return nil, nil
	}
	_, content, err := r.read(plumbing.TreeObject, id, MaxTree)
	if err != nil {
		return nil, err
	}
	var entries []rawEntry
	for len(content) > 0 {
		mode, rest, ok := bytes.Cut(content, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < len(ID{}) {
			return nil, fmt.Errorf("damaged tree object %s", id)
		}
		entries = append(entries, rawEntry{string(mode), string(name), ID(rest[:len(ID{})])})
		content = rest[len(ID{}):]
	}
	return entries, nil
}
