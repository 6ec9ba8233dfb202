package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
)

// ReportPrefix is where branches are that the cluster itself writes. No source
// may follow one.
const ReportPrefix = "refs/heads/headway/"

// ErrRefMoved says that a reference has changed since it was read.
var ErrRefMoved = errors.New("the reference has moved")

// NewCommit is a commit to be written.
type NewCommit struct {
	Parent  ID // zero for the first one of an orphan branch
	Files   map[string][]byte
	Tree    ID // what WriteTree has given, instead of Files
	Name    string
	Email   string
	Time    time.Time
	Message string
}

// Write writes the commit and its files as objects and gives its ID, which
// depends on nothing but the NewCommit. No reference is changed.
func (r *Repository) Write(c NewCommit) (ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !c.Tree.IsZero() {
		return r.writeCommit(c, c.Tree)
	}
	root, err := r.writeFiles(c.Files)
	if err != nil {
		return ID{}, fmt.Errorf("write commit: %w", err)
	}
	return r.writeCommit(c, root)
}

// WriteBlob writes the content of a file as an object.
func (r *Repository) WriteBlob(content []byte) (ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, err := r.writeObject(plumbing.BlobObject, content)
	if err != nil {
		return ID{}, fmt.Errorf("write blob: %w", err)
	}
	return id, nil
}

// WriteTree writes the directories of files that WriteBlob has written, by
// their slash-separated names, and gives the root.
func (r *Repository) WriteTree(files map[string]ID) (ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	root, err := r.writeTree(files)
	if err != nil {
		return ID{}, fmt.Errorf("write tree: %w", err)
	}
	return root, nil
}

// writeFiles writes files with their directories.
func (r *Repository) writeFiles(files map[string][]byte) (ID, error) {
	blobs := make(map[string]ID, len(files))
	for name, content := range files {
		id, err := r.writeObject(plumbing.BlobObject, content)
		if err != nil {
			return ID{}, err
		}
		blobs[name] = id
	}
	return r.writeTree(blobs)
}

// writeCommit writes the commit object of a tree.
func (r *Repository) writeCommit(c NewCommit, root ID) (ID, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", root)
	if !c.Parent.IsZero() {
		fmt.Fprintf(&b, "parent %s\n", c.Parent)
	}
	who := fmt.Sprintf("%s <%s> %d +0000", c.Name, c.Email, c.Time.Unix())
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s\n", who, who, strings.TrimSpace(c.Message))
	return r.writeObject(plumbing.CommitObject, b.Bytes())
}

// writeTree writes the directories of files, whose names are slash-separated.
func (r *Repository) writeTree(files map[string]ID) (ID, error) {
	type entry struct {
		sort, name, mode string
		id               ID
	}
	var entries []entry
	below := map[string]map[string]ID{}
	for name, id := range files {
		dir, rest, nested := strings.Cut(name, "/")
		if nested {
			if below[dir] == nil {
				below[dir] = map[string]ID{}
			}
			below[dir][rest] = id
			continue
		}
		entries = append(entries, entry{name, name, "100644", id})
	}
	for dir, content := range below {
		id, err := r.writeTree(content)
		if err != nil {
			return ID{}, err
		}
		entries = append(entries, entry{dir + "/", dir, "40000", id})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.sort, b.sort) })
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s\x00", e.mode, e.name)
		b.Write(e.id[:])
	}
	return r.writeObject(plumbing.TreeObject, b.Bytes())
}

// writeObject writes a loose object unless it exists. Files and directories
// get the repository's owner: whoever pushes must be able to write there.
func (r *Repository) writeObject(kind plumbing.ObjectType, content []byte) (ID, error) {
	id := ID(plumbing.ComputeHash(kind, content))
	name := id.String()
	dir := filepath.Join(r.commonDir, "objects", name[:2])
	path := filepath.Join(dir, name[2:])
	if _, err := os.Stat(path); err == nil {
		return id, nil
	}
	if err := r.mkdir(dir); err != nil {
		return id, err
	}
	f, err := os.CreateTemp(dir, "tmp_obj_")
	if err != nil {
		return id, err
	}
	defer os.Remove(f.Name())
	w := objfile.NewWriter(f)
	err = w.WriteHeader(kind, int64(len(content)))
	if err == nil {
		_, err = w.Write(content)
	}
	err = errors.Join(err, w.Close(), f.Chmod(0o444), r.own(f.Name()), f.Sync(), f.Close())
	if err != nil {
		return id, fmt.Errorf("write object: %w", err)
	}
	return id, os.Rename(f.Name(), path)
}

// Update moves a reference from old to new (old zero: it must not exist), with
// git's own lock file, so that it is safe beside git itself. ErrRefMoved says
// that it was something else.
func (r *Repository) Update(name string, old, new ID) error {
	r.mu.Lock() // whoever lists references takes an empty lock file for one
	defer r.mu.Unlock()
	path := filepath.Join(r.commonDir, filepath.FromSlash(name))
	if err := r.mkdir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("update %s: %w", name, err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("update %s: locked by another process: %w", name, ErrRefMoved)
	}
	if err != nil {
		return fmt.Errorf("update %s: %w", name, err)
	}
	defer os.Remove(lock.Name())
	defer lock.Close()
	now, err := r.tip(name)
	if err != nil {
		return err
	}
	if now != old {
		return fmt.Errorf("update %s: it is at %s: %w", name, now, ErrRefMoved)
	}
	_, err = lock.WriteString(new.String() + "\n")
	if err = errors.Join(err, r.own(lock.Name()), lock.Sync()); err != nil {
		return fmt.Errorf("update %s: %w", name, err)
	}
	return os.Rename(lock.Name(), path)
}

// mkdir makes a directory and its parents inside the repository.
func (r *Repository) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil || dir == r.commonDir {
		return nil
	}
	if err := r.mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return r.own(dir)
}

// own gives a file to the owner of the repository.
func (r *Repository) own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(r.commonDir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && (stat.Uid != 0 || stat.Gid != 0) {
		return os.Chown(path, int(stat.Uid), int(stat.Gid))
	}
	return nil
}

// FileAt gives the content of a regular file in a commit, or nil.
func (r *Repository) FileAt(commit ID, name string) ([]byte, error) {
	c, err := r.Commit(commit)
	if err != nil {
		return nil, err
	}
	_, e, err := r.Lookup(func(id ID) ([]Entry, error) {
		entries, _, err := r.Tree(id)
		return entries, err
	}, c.Tree, name)
	if errors.Is(err, ErrNoFile) || err == nil && e.Mode != File {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.Blob(e.ID)
}
