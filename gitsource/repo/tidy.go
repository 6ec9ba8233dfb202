package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

const (
	// untidy is from how many small packs and loose objects on they are joined.
	untidy = 50
	// maxJoined is how many bytes are joined at once, which bounds the memory.
	// Packs that have grown so large are left alone.
	maxJoined = 16 << 20
	// deltaWindow is how many objects each is compared with.
	deltaWindow = 10
)

// small is a pack, by its index, or a loose object.
type small struct {
	path string
	size int64
}

// Tidy joins small packs and loose objects into one pack when there are many: a
// fetch leaves a pack each time, a report some objects, and all that is looked
// for is looked for in each of them. The repository can be read meanwhile. It
// must not be called together with Fetch.
func (r *Repository) Tidy(ctx context.Context) error {
	parts, err := r.small()
	if err != nil || len(parts) < untidy {
		return err
	}
	pack, err := r.join(ctx, parts)
	if err != nil {
		return fmt.Errorf("join small packs: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.storage.Reindex()
	for _, p := range parts {
		base, isPack := strings.CutSuffix(p.path, ".idx")
		if base == pack {
			continue // they were one already
		}
		if err := os.Remove(p.path); err != nil {
			return fmt.Errorf("remove what was joined: %w", err)
		}
		if isPack {
			if err := os.Remove(base + ".pack"); err != nil {
				return fmt.Errorf("remove what was joined: %w", err)
			}
		}
	}
	return nil
}

// small lists packs and loose objects, the smallest first, as many as are
// joined at once.
func (r *Repository) small() ([]small, error) {
	var all []small
	objects := filepath.Join(r.commonDir, "objects")
	err := filepath.WalkDir(objects, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		measured := path
		dir := filepath.Base(filepath.Dir(path))
		if base, ok := strings.CutSuffix(path, ".idx"); ok && dir == "pack" {
			measured = base + ".pack"
		} else if _, err := ParseID(dir + d.Name()); err != nil {
			return nil
		}
		info, err := os.Stat(measured)
		if err == nil {
			all = append(all, small{path, info.Size()})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for small packs: %w", err)
	}
	slices.SortFunc(all, func(a, b small) int { return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.path, b.path)) })
	var total int64
	for i, p := range all {
		if total += p.size; total > maxJoined {
			return all[:i], nil
		}
	}
	return all, nil
}

// join writes all objects of packs and loose ones into one pack, and gives its
// path without an extension.
func (r *Repository) join(ctx context.Context, parts []small) (string, error) {
	hashes, err := objectsOf(ctx, parts)
	if err != nil {
		return "", err
	}
	// An own handle, so that nobody waits for the encoder.
	own, err := Open(r.commonDir)
	if err != nil {
		return "", err
	}
	defer own.Close()
	dir := filepath.Join(r.commonDir, "objects", "pack")
	f, err := os.CreateTemp(dir, tempPack)
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := packfile.NewEncoder(f, own.storage, false).Encode(hashes, deltaWindow); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	index := new(idxfile.Writer)
	parser, err := packfile.NewParser(packfile.NewScanner(&bounded{f, ctx}), index)
	if err != nil {
		return "", err
	}
	sum, err := parser.Parse()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "pack-"+sum.String()), placePack(dir, f, sum, index)
}

// objectsOf names each object of packs and loose ones once.
func objectsOf(ctx context.Context, parts []small) ([]plumbing.Hash, error) {
	seen := map[plumbing.Hash]bool{}
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !strings.HasSuffix(p.path, ".idx") {
			seen[plumbing.NewHash(filepath.Base(filepath.Dir(p.path))+filepath.Base(p.path))] = true
			continue
		}
		if err := packed(p.path, seen); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Base(p.path), err)
		}
	}
	out := make([]plumbing.Hash, 0, len(seen))
	for h := range seen {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b plumbing.Hash) int { return slices.Compare(a[:], b[:]) })
	return out, nil
}

// packed adds what an index names.
func packed(path string, to map[plumbing.Hash]bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(f).Decode(index); err != nil {
		return err
	}
	entries, err := index.Entries()
	if err != nil {
		return err
	}
	defer entries.Close()
	for {
		e, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		to[e.Hash] = true
	}
}
