package repo

import (
	"bytes"

	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// The limits of a repository.
const (
	// MaxBlob is the size of the largest file that is read.
	MaxBlob = 8 << 20
	// MaxTree is the size of the largest tree object that is read.
	MaxTree = 16 << 20
	// MaxName is the length of the longest name of a tree entry.
	MaxName = 255

	objectCacheSize = 8 << 20
	openPacks       = 16
)

var (
	// ErrNoRepository says that there is no repository at the path.
	ErrNoRepository = errors.New("no git repository there")
	// ErrNoRef says that the repository has no such reference.
	ErrNoRef = errors.New("no such reference")
	// ErrEmpty says that the repository has no commit at all.
	ErrEmpty = errors.New("the repository has no commits yet")
	// ErrTooLarge says that an object is over its limit.
	ErrTooLarge = errors.New("too large")
)

// ID names a git object.
type ID [20]byte

// String gives 40 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero tells whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads 40 hexadecimal digits.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 40 {
		return id, fmt.Errorf("%q is not a commit id of 40 hexadecimal digits", s)
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err
}

// Repository is one repository on disk: the user's own, or the mirror of a
// remote. It is safe for concurrent use.
type Repository struct {
	gitDir    string // where HEAD is
	commonDir string // where refs and objects are

	mu      sync.Mutex // guards storage, which is not safe by itself
	storage *filesystem.Storage
}

// Open opens the repository at a path: a bare one, one with a working tree, or
// a linked working tree.
func Open(path string) (*Repository, error) {
	gitDir, commonDir, err := find(path)
	if err != nil {
		return nil, err
	}
	if config, err := os.ReadFile(filepath.Join(commonDir, "config")); err == nil {
		text := strings.ToLower(string(config))
		if strings.Contains(text, "reftable") || strings.Contains(text, "sha256") {
			return nil, fmt.Errorf("open %s: repositories with reftable or sha256 are not understood; create it with git init --ref-format=files --object-format=sha1", path)
		}
	}
	fs := dotgit.NewRepositoryFilesystem(osfs.New(gitDir), osfs.New(commonDir))
	storage := filesystem.NewStorageWithOptions(fs, cache.NewObjectLRU(objectCacheSize), filesystem.Options{
		MaxOpenDescriptors: openPacks, AlternatesFS: osfs.New("/"),
	})
	return &Repository{gitDir: gitDir, commonDir: commonDir, storage: storage}, nil
}

// find gives the directories of the repository at a path.
func find(path string) (gitDir, commonDir string, err error) {
	gitDir = path
	dot := filepath.Join(path, ".git")
	switch info, err := os.Stat(dot); {
	case err == nil && info.IsDir():
		gitDir = dot
	case err == nil:
		content, err := os.ReadFile(dot)
		if err != nil {
			return "", "", err
		}
		target, ok := strings.CutPrefix(strings.TrimSpace(string(content)), "gitdir: ")
		if !ok {
			return "", "", fmt.Errorf("open %s: %w", path, ErrNoRepository)
		}
		gitDir = within(path, target)
	}
	commonDir = gitDir
	if content, err := os.ReadFile(filepath.Join(gitDir, "commondir")); err == nil {
		commonDir = within(gitDir, strings.TrimSpace(string(content)))
	}
	if _, err := os.Stat(filepath.Join(gitDir, "HEAD")); err != nil {
		return "", "", fmt.Errorf("open %s: %w", path, ErrNoRepository)
	}
	if _, err := os.Stat(filepath.Join(commonDir, "objects")); err != nil {
		return "", "", fmt.Errorf("open %s: %w", path, ErrNoRepository)
	}
	return gitDir, commonDir, nil
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Dirs are the directories whose references a watch must look at: the one with
// HEAD and the one with the branches. They are the same but for linked working
// trees.
func (r *Repository) Dirs() (gitDir, commonDir string) { return r.gitDir, r.commonDir }

// Resolve gives the full name and the commit of what a reference names.
func (r *Repository) Resolve(ref v1alpha1.GitReference) (name string, commit ID, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case ref.Commit != "":
		commit, err = ParseID(ref.Commit)
		if err != nil {
			return "", ID{}, err
		}
		commit, err = r.peel(commit)
		return ref.Commit, commit, err
	case ref.Branch != "":
		name = "refs/heads/" + ref.Branch
	case ref.Tag != "":
		name = "refs/tags/" + ref.Tag
	case ref.Name != "":
		name = ref.Name
	case ref.Semver != "":
		if name, err = r.newest(ref.Semver); err != nil {
			return name, ID{}, err
		}
	default:
		head, err := r.storage.Reference(plumbing.HEAD)
		if err != nil {
			return "", ID{}, fmt.Errorf("read HEAD: %w", err)
		}
		if head.Type() == plumbing.HashReference {
			return "HEAD", ID(head.Hash()), nil
		}
		name = head.Target().String()
	}
	found, err := r.storage.Reference(plumbing.ReferenceName(name))
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		if r.empty() {
			return name, ID{}, ErrEmpty
		}
		return name, ID{}, fmt.Errorf("%s: %w", name, ErrNoRef)
	}
	if err != nil {
		return name, ID{}, fmt.Errorf("read %s: %w", name, err)
	}
	if found.Type() == plumbing.SymbolicReference {
		return name, ID{}, fmt.Errorf("%s points to %s: name that one", name, found.Target())
	}
	commit, err = r.peel(ID(found.Hash()))
	return name, commit, err
}

// empty tells whether the repository has no reference but ours.
func (r *Repository) empty() bool {
	refs, err := r.storage.IterReferences()
	if err != nil {
		return false
	}
	empty := true
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() == plumbing.HashReference && !strings.HasPrefix(ref.Name().String(), ReportPrefix) {
			empty = false
		}
		return nil
	})
	return empty && err == nil
}

// Tip gives the commit of a full reference name, or a zero ID.
func (r *Repository) Tip(name string) (ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tip(name)
}

func (r *Repository) tip(name string) (ID, error) {
	ref, err := r.storage.Reference(plumbing.ReferenceName(name))
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return ID{}, nil
	}
	if err != nil {
		return ID{}, fmt.Errorf("read %s: %w", name, err)
	}
	return ID(ref.Hash()), nil
}

// peel follows annotated tags to their commit.
func (r *Repository) peel(id ID) (ID, error) {
	for range 8 {
		kind, content, err := r.read(plumbing.AnyObject, id, MaxBlob)
		if err != nil {
			return ID{}, err
		}
		switch kind {
		case plumbing.CommitObject:
			return id, nil
		case plumbing.TagObject:
			line, _, _ := bytes.Cut(content, []byte("\n"))
			id, err = ParseID(strings.TrimPrefix(string(line), "object "))
			if err != nil {
				return ID{}, fmt.Errorf("read tag: %w", err)
			}
		default:
			return ID{}, notACommit{id, kind}
		}
	}
	return ID{}, errors.New("a chain of more than 8 tags")
}

// notACommit says that a reference names something that cannot be followed.
type notACommit struct {
	id   ID
	kind plumbing.ObjectType
}

func (e notACommit) Error() string { return fmt.Sprintf("%s is a %s, not a commit", e.id, e.kind) }

// read gives an object's content. Packs come and go while git works on the
// repository, so that what is not found is looked for once more in fresh
// indexes.
func (r *Repository) read(want plumbing.ObjectType, id ID, limit int64) (plumbing.ObjectType, []byte, error) {
	object, err := r.storage.EncodedObject(want, plumbing.Hash(id))
	if err != nil {
		r.storage.Reindex()
		object, err = r.storage.EncodedObject(want, plumbing.Hash(id))
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read object %s: %w", id, err)
	}
	if object.Size() > limit {
		return 0, nil, fmt.Errorf("object of %d bytes (limit %d): %w", object.Size(), limit, ErrTooLarge)
	}
	reader, err := object.Reader()
	if err != nil {
		return 0, nil, fmt.Errorf("read object %s: %w", id, err)
	}
	defer reader.Close()
	var buffer bytes.Buffer
	buffer.Grow(int(object.Size()))
	if _, err := buffer.ReadFrom(reader); err != nil {
		return 0, nil, fmt.Errorf("read object %s: %w", id, err)
	}
	return object.Type(), buffer.Bytes(), nil
}

// Blob gives a file's content.
func (r *Repository) Blob(id ID) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if size, err := r.storage.EncodedObjectSize(plumbing.Hash(id)); err == nil && size > MaxBlob {
		return nil, fmt.Errorf("file of %d bytes (limit %d): %w", size, MaxBlob, ErrTooLarge)
	}
	_, content, err := r.read(plumbing.BlobObject, id, MaxBlob)
	return content, err
}

// Close gives back open files.
func (r *Repository) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.storage.Close()
}
