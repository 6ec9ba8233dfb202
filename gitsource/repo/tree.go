package repo

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Mode is what a tree entry is.
type Mode int8

const (
	// File is a regular or executable file.
	File Mode = iota
	// Dir is a directory.
	Dir
	// Link is a symbolic link.
	Link
	// Submodule is a commit of another repository.
	Submodule
)

// Entry is one entry of a tree.
type Entry struct {
	Name string
	Mode Mode
	ID   ID
}

// Refusal is an entry of a tree that nobody should have made.
type Refusal struct {
	Name   string
	Reason string
}

// Tree reads a tree object. Entries with names that could lead elsewhere are
// left out and given back as refusals.
func (r *Repository) Tree(id ID) ([]Entry, []Refusal, error) {
	r.mu.Lock()
	_, content, err := r.read(plumbing.TreeObject, id, MaxTree)
	r.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	return parseTree(content)
}

func parseTree(content []byte) ([]Entry, []Refusal, error) {
	var entries []Entry
	var refused []Refusal
	seen := map[string]bool{}
	for len(content) > 0 {
		mode, rest, ok := bytes.Cut(content, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < len(ID{}) {
			return nil, nil, errors.New("damaged tree object")
		}
		e := Entry{Name: string(name), ID: ID(rest[:len(ID{})])}
		content = rest[len(ID{}):]
		reason := badName(e.Name)
		if reason == "" && seen[e.Name] {
			reason = "is there twice"
		}
		seen[e.Name] = true
		if reason != "" {
			refused = append(refused, Refusal{Name: shorten(e.Name), Reason: reason})
			continue
		}
		switch string(mode) {
		case "40000", "040000":
			e.Mode = Dir
		case "120000":
			e.Mode = Link
		case "160000":
			e.Mode = Submodule
		case "100644", "100755", "100664":
			e.Mode = File
		default:
			refused = append(refused, Refusal{Name: e.Name, Reason: fmt.Sprintf("has the unknown mode %q", shorten(string(mode)))})
			continue
		}
		entries = append(entries, e)
	}
	return entries, refused, nil
}

// badName says why a name is refused, or nothing. Names that mean .git on some
// file system are refused everywhere, as git does.
func badName(name string) string {
	folded := strings.Map(func(r rune) rune {
		if r >= 0x200c && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x206a && r <= 0x206f || r == 0xfeff {
			return -1 // ignored by HFS+
		}
		return r
	}, strings.ToLower(name))
	folded = strings.TrimRight(folded, ". ")
	switch {
	case name == "":
		return "is empty"
	case name == "." || name == "..":
		return "leads out of its directory"
	case strings.ContainsAny(name, "/\x00"):
		return "contains a slash or NUL"
	case len(name) > MaxName:
		return fmt.Sprintf("is longer than %d bytes", MaxName)
	case folded == ".git" || folded == "git~1" || strings.HasPrefix(folded, ".git:"):
		return "means a git directory"
	}
	return ""
}

func shorten(s string) string { return cut(s, 60) }

// cut gives at most n bytes of what somebody else has said.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n-3], "") + "..."
	}
	return s
}

// maxLinks is how many symbolic links may follow one another.
const maxLinks = 8

// ErrNoFile says that there is nothing under a name.
var ErrNoFile = errors.New("no such file")

// Lookup finds an entry by its path below a tree; "." is the tree itself.
// Symbolic links are followed as long as they stay inside the tree; the
// resolved path is given back.
func (r *Repository) Lookup(tree func(ID) ([]Entry, error), root ID, name string) (string, Entry, error) {
	return r.lookup(tree, root, path.Clean(name), 0)
}

func (r *Repository) lookup(tree func(ID) ([]Entry, error), root ID, name string, links int) (string, Entry, error) {
	at := Entry{Name: ".", Mode: Dir, ID: root}
	if name == "." {
		return name, at, nil
	}
	if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return "", Entry{}, fmt.Errorf("%s lies outside the repository", name)
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if at.Mode != Dir {
			return "", Entry{}, fmt.Errorf("%s: %w", name, ErrNoFile)
		}
		entries, err := tree(at.ID)
		if err != nil {
			return "", Entry{}, fmt.Errorf("%s: %w", path.Join(parts[:i]...), err)
		}
		next, ok := pick(entries, part)
		if !ok {
			return "", Entry{}, fmt.Errorf("%s: %w", name, ErrNoFile)
		}
		if at = next; at.Mode != Link {
			continue
		}
		here := path.Join(parts[:i+1]...)
		if links >= maxLinks {
			return "", Entry{}, fmt.Errorf("%s: more than %d symbolic links in a row", here, maxLinks)
		}
		target, err := r.LinkTarget(here, at.ID)
		if err != nil {
			return "", Entry{}, err
		}
		return r.lookup(tree, root, path.Join(append([]string{target}, parts[i+1:]...)...), links+1)
	}
	return name, at, nil
}

// LinkTarget gives where a symbolic link at a path points to, as a clean path
// from the repository's root; a target outside is an error.
func (r *Repository) LinkTarget(name string, id ID) (string, error) {
	content, err := r.Blob(id)
	if err != nil {
		return "", fmt.Errorf("%s: read link: %w", name, err)
	}
	target := string(content)
	if path.IsAbs(target) || strings.ContainsAny(target, "\x00\n") || len(target) > 4096 {
		return "", fmt.Errorf("%s: symbolic link to %q leads out of the repository and is refused", name, shorten(target))
	}
	joined := path.Join(path.Dir(name), target)
	if joined == ".." || strings.HasPrefix(joined, "../") {
		return "", fmt.Errorf("%s: symbolic link to %q leads out of the repository and is refused", name, shorten(target))
	}
	return joined, nil
}

func pick(entries []Entry, name string) (Entry, bool) {
	for _, e := range entries {
		if e.Name == name {
			return e, true
		}
	}
	return Entry{}, false
}
