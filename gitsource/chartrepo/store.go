package chartrepo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/headway-sh/headway/gitsource/render/helm"
)

// The limits of one conversation with a repository.
const (
	Timeout    = 30 * time.Second
	MaxIndex   = 8 << 20
	MaxArchive = helm.MaxChart
)

// errNoVersion says that a repository does not have a version of a chart.
var errNoVersion = errors.New("is not there")

// Repository is where charts are looked for.
type Repository struct {
	// URL is https://…, file:///… or an absolute path.
	URL string
	// CABundle, PEM, takes the place of the system's authorities.
	CABundle string
}

// Store keeps what came from repositories. It is safe for concurrent use.
type Store struct {
	dir string
	mu  sync.Mutex // guards what is written; nobody waits for a repository with it
}

// Open keeps archives below a directory, which is made when it is needed. With
// no directory nothing is kept.
func Open(dir string) *Store { return &Store{dir: dir} }

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)

// Get gives the archive of a version of a chart from the first repository that
// has it. What is kept needs no repository.
func (s *Store) Get(ctx context.Context, repositories []Repository, name, version string) ([]byte, error) {
	if !plainName.MatchString(name) || !plainName.MatchString(version) {
		return nil, fmt.Errorf("%q %q is no name and version of a chart", name, version)
	}
	for _, r := range repositories {
		if content, err := s.kept(r, name, version); err == nil {
			return content, nil
		}
	}
	var errs []error
	for _, r := range repositories {
		content, err := r.fetch(ctx, name, version)
		if err == nil {
			if err = s.keep(r, name, version, content); err == nil {
				return content, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", r.URL, err))
	}
	return nil, errors.Join(errs...)
}

func (s *Store) pin(r Repository, name, version string) string {
	sum := sha256.Sum256([]byte(r.URL))
	return filepath.Join(s.dir, "versions", hex.EncodeToString(sum[:12]), name, version)
}

func (s *Store) archive(digest string) string { return filepath.Join(s.dir, "archives", digest+".tgz") }

// kept reads what came before. Damage counts as absence.
func (s *Store) kept(r Repository, name, version string) ([]byte, error) {
	if s.dir == "" {
		return nil, fs.ErrNotExist
	}
	digest, err := os.ReadFile(s.pin(r, name, version))
	if err != nil {
		return nil, err
	}
	if len(digest) != 64 || strings.Trim(string(digest), "0123456789abcdef") != "" {
		return nil, fs.ErrNotExist
	}
	content, err := os.ReadFile(s.archive(string(digest)))
	if err != nil {
		return nil, err
	}
	if digestOf(content) != string(digest) {
		return nil, fs.ErrNotExist
	}
	return content, nil
}

// keep writes an archive, and then which version it is. A version whose archive
// was lost has to come back as it was.
func (s *Store) keep(r Repository, name, version string, content []byte) error {
	if s.dir == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := digestOf(content)
	pin := s.pin(r, name, version)
	if was, err := os.ReadFile(pin); err == nil && len(was) == 64 && string(was) != digest {
		return fmt.Errorf("%s %s has the SHA-256 %s now, and had %s: a version never changes", name, version, digest, was)
	}
	if err := write(s.archive(digest), content); err != nil {
		return fmt.Errorf("keep chart: %w", err)
	}
	if err := write(pin, []byte(digest)); err != nil {
		return fmt.Errorf("keep chart: %w", err)
	}
	return nil
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func write(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	fresh := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path)) // no version is called so
	if err := os.WriteFile(fresh, content, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
