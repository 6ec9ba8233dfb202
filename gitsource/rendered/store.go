package rendered

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/repo"
)

var (
	// ErrNotKept says that a commit is not here (any more).
	ErrNotKept = errors.New("the rendered objects of this commit are not kept")
	// ErrDamaged says that what is here cannot be believed.
	ErrDamaged = errors.New("what is kept of this commit is damaged; it is kept again when the commit is rendered")
)

// Store is a directory of rendered commits. It is safe for concurrent use
// within one process.
type Store struct {
	dir  string
	seal *seal

	mu    sync.Mutex    // guards the files: pruning must not race with keeping
	small *flate.Writer // guarded by mu: a new one costs more than what it writes
	// there are objects that are known to be there, of the set that was put
	// last; guarded by mu.
	there map[string]bool
}

// Open opens a directory, which is made when it is not there. The key is the
// cluster's.
func Open(dir string, key []byte) (*Store, error) {
	for _, sub := range []string{"objects", "sets"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open rendered commits: %w", err)
		}
	}
	s, err := newSeal(key)
	if err != nil {
		return nil, fmt.Errorf("open rendered commits: %w", err)
	}
	small, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("open rendered commits: %w", err)
	}
	return &Store{dir: dir, seal: s, small: small}, nil
}

// Info is what is known of a kept commit without its objects.
type Info struct {
	Commit repo.ID
	// Kept is when it was put.
	Kept time.Time
	// Objects is how many it has.
	Objects int
}

// set is a kept commit.
type set struct {
	Kept    time.Time `json:"kept"`
	Objects []entry   `json:"objects"`
	// Secrets are what was encrypted in the commit, wherever it ended up, if that
	// is Recorded: sets of earlier versions do not say.
	Secrets  []string `json:"secrets,omitempty"`
	Recorded bool     `json:"recorded,omitempty"`
}

func (s *set) same(o *set) bool {
	return reflect.DeepEqual(s.Objects, o.Objects) && slices.Equal(s.Secrets, o.Secrets) && s.Recorded == o.Recorded
}

// entry is an object of a commit without its body.
type entry struct {
	Digest string   `json:"d"`
	File   string   `json:"f,omitempty"`
	Line   int32    `json:"l,omitempty"`
	Chain  []string `json:"c,omitempty"`
	Owners []string `json:"w,omitempty"`
	Hook   bool     `json:"h,omitempty"`
}

// Put keeps a commit of a source as it was rendered at a time, in place of what
// was kept of it before; the same again writes nothing. Objects come first, so that a commit that is here is
// whole.
func (s *Store) Put(source string, rendered *render.Set, at time.Time) error {
	if !sourceName.MatchString(source) {
		return fmt.Errorf("keep %s: %q is no name of a source", rendered.Commit, source)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := set{Kept: at.UTC(), Objects: make([]entry, len(rendered.Objects)), Secrets: rendered.Secrets(), Recorded: !rendered.Unrecorded}
	for i, o := range rendered.Objects {
		if !isDigest(o.Digest) {
			return fmt.Errorf("keep %s: %s has no digest", rendered.Commit, o.Origin())
		}
		kept.Objects[i] = entry{Digest: o.Digest, File: o.File, Line: o.Line, Chain: o.Chain, Owners: o.Owners, Hook: o.Hook}
	}
	there := make(map[string]bool, len(rendered.Objects))
	for _, o := range rendered.Objects {
		if err := s.putObject(o); err != nil {
			return fmt.Errorf("keep %s: %w", o.Origin(), err)
		}
		there[o.Digest] = true
	}
	s.there = there
	if old, err := s.read(source, rendered.Commit); err == nil && old.same(&kept) {
		return nil
	}
	if err := s.write(s.set(source, rendered.Commit), setName(source, rendered.Commit), kept); err != nil {
		return fmt.Errorf("keep %s: %w", rendered.Commit, err)
	}
	return nil
}

// putObject keeps an object, unless it is there.
func (s *Store) putObject(o *render.Object) error {
	if s.there[o.Digest] {
		return nil
	}
	path := s.object(o.Digest)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return s.write(path, o.Digest, o.Body.Object)
}

// Get gives a kept commit. The lines of single fields are not kept with it.
func (s *Store) Get(source string, commit repo.ID) (*render.Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, err := s.read(source, commit)
	if err != nil {
		return nil, err
	}
	objects, err := s.objects(kept)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", commit, err)
	}
	set := render.Restored(commit, objects, kept.Secrets)
	set.Unrecorded = !kept.Recorded
	return set, nil
}

// objects reads what a commit names.
func (s *Store) objects(kept *set) ([]*render.Object, error) {
	out := make([]*render.Object, len(kept.Objects))
	for i, e := range kept.Objects {
		body := &unstructured.Unstructured{}
		if err := s.load(s.object(e.Digest), e.Digest, body); err != nil {
			// Put writes what is not there.
			delete(s.there, e.Digest)
			return nil, errors.Join(ErrDamaged, err, os.Remove(s.object(e.Digest)))
		}
		out[i] = &render.Object{Body: body, File: e.File, Line: e.Line, Chain: e.Chain, Owners: e.Owners, Hook: e.Hook, Digest: e.Digest}
	}
	return out, nil
}

// Hooks gives the hooks of a kept commit, with less to read than Get.
func (s *Store) Hooks(source string, commit repo.ID) ([]*render.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, err := s.read(source, commit)
	if err != nil {
		return nil, err
	}
	kept.Objects = slices.DeleteFunc(kept.Objects, func(e entry) bool { return !e.Hook })
	return s.objects(kept)
}

// Has tells whether a commit is kept.
func (s *Store) Has(source string, commit repo.ID) bool {
	_, err := os.Stat(s.set(source, commit))
	return err == nil
}

// Count is how many commits of a source are kept, damaged ones included.
func (s *Store) Count(source string) (int, error) {
	names, err := os.ReadDir(filepath.Join(s.dir, "sets", source))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count rendered commits: %w", err)
	}
	return len(names), nil
}

// List gives the kept commits of a source, the newest first. Damaged ones are
// left out.
func (s *Store) List(source string) ([]Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list(source)
}

func (s *Store) list(source string) ([]Info, error) {
	names, err := os.ReadDir(filepath.Join(s.dir, "sets", source))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rendered commits: %w", err)
	}
	var out []Info
	for _, n := range names {
		commit, err := repo.ParseID(n.Name())
		if err != nil {
			continue // left by a write that was cut off
		}
		kept, err := s.read(source, commit)
		if err != nil {
			continue
		}
		out = append(out, Info{Commit: commit, Kept: kept.Kept, Objects: len(kept.Objects)})
	}
	slices.SortFunc(out, func(a, b Info) int {
		return cmp.Or(b.Kept.Compare(a.Kept), bytes.Compare(a.Commit[:], b.Commit[:]))
	})
	return out, nil
}

// Prune removes the commits of a source that keep does not want, given from the
// newest to the oldest with their number, and all objects that no commit has
// any more.
func (s *Store) Prune(source string, keep func(n int, i Info) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.list(source)
	if err != nil {
		return err
	}
	removed := false
	for n, i := range all {
		if keep(n, i) {
			continue
		}
		if err := os.Remove(s.set(source, i.Commit)); err != nil {
			return fmt.Errorf("prune rendered commits: %w", err)
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return s.sweep()
}

// sweep removes the objects that no commit of any source has.
func (s *Store) sweep() error {
	s.there = nil
	sources, err := os.ReadDir(filepath.Join(s.dir, "sets"))
	if err != nil {
		return fmt.Errorf("prune rendered objects: %w", err)
	}
	used := map[string]bool{}
	for _, source := range sources {
		commits, err := s.list(source.Name())
		if err != nil {
			return err
		}
		for _, c := range commits {
			kept, err := s.read(source.Name(), c.Commit)
			if err != nil {
				return err
			}
			for _, e := range kept.Objects {
				used[e.Digest] = true
			}
		}
	}
	return filepath.WalkDir(filepath.Join(s.dir, "objects"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || used[d.Name()] {
			return err
		}
		return os.Remove(path)
	})
}

var sourceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// isDigest tells whether a text is 32 hexadecimal digits, and so safe in a path.
func isDigest(text string) bool {
	return len(text) == 32 && strings.Trim(text, "0123456789abcdef") == ""
}

func (s *Store) object(digest string) string {
	return filepath.Join(s.dir, "objects", digest[:2], digest)
}

func (s *Store) set(source string, commit repo.ID) string {
	return filepath.Join(s.dir, "sets", source, commit.String())
}

func setName(source string, commit repo.ID) string { return source + "/" + commit.String() }

func (s *Store) read(source string, commit repo.ID) (*set, error) {
	var kept set
	err := s.load(s.set(source, commit), setName(source, commit), &kept)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", commit, ErrNotKept)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", commit, errors.Join(ErrDamaged, err))
	}
	for _, e := range kept.Objects {
		if !isDigest(e.Digest) {
			return nil, fmt.Errorf("%s: %w", commit, ErrDamaged)
		}
	}
	return &kept, nil
}

// write puts a sealed file in place, whole or not at all.
func (s *Store) write(path, name string, content any) error {
	encoded, err := json.Marshal(content)
	if err != nil {
		return err
	}
	var small bytes.Buffer
	s.small.Reset(&small)
	if _, err := s.small.Write(encoded); err != nil {
		return err
	}
	if err := s.small.Close(); err != nil {
		return err
	}
	closed := s.seal.close(name, small.Bytes())
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", closed, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// load reads a sealed file.
func (s *Store) load(path, name string, into any) error {
	closed, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	small, err := s.seal.open(name, closed)
	if err != nil {
		return err
	}
	encoded, err := io.ReadAll(flate.NewReader(bytes.NewReader(small)))
	if err != nil {
		return err
	}
	return json.Unmarshal(encoded, into) // objects see to the types of their numbers themselves
}
