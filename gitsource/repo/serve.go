package repo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/revlist"
)

// Advertised is a reference as it is told to who fetches.
type Advertised struct {
	Name string
	ID   ID
	// Peeled is the commit of an annotated tag; zero for what is one itself.
	Peeled ID
}

// Advertise gives all references in the order of their names, and the branch
// that HEAD names: the only one, when that is not there. It is empty when there
// is none of them.
func (r *Repository) Advertise() (refs []Advertised, head string, err error) {
	all, err := r.references()
	if err != nil {
		return nil, "", err
	}
	var branches []string
	for name, id := range all {
		one := Advertised{Name: name, ID: id}
		switch {
		case strings.HasPrefix(name, "refs/tags/"):
			if commit, err := r.peeled(id); err == nil && commit != id {
				one.Peeled = commit
			}
		case strings.HasPrefix(name, "refs/heads/"):
			branches = append(branches, name)
		}
		refs = append(refs, one)
	}
	slices.SortFunc(refs, func(a, b Advertised) int { return cmp.Compare(a.Name, b.Name) })
	content, err := os.ReadFile(filepath.Join(r.gitDir, "HEAD"))
	if err != nil {
		return nil, "", fmt.Errorf("read HEAD: %w", err)
	}
	head, _ = strings.CutPrefix(strings.TrimSpace(string(content)), "ref: ")
	if !slices.Contains(branches, head) {
		head = ""
		if len(branches) == 1 {
			head = branches[0]
		}
	}
	return refs, head, nil
}

// Has tells whether an object is here.
func (r *Repository) Has(id ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.storage.HasEncodedObject(plumbing.Hash(id)) == nil
}

// WritePack writes a pack with all that the wanted objects need and those that
// are known do not. With offsets, deltas may name their bases by place. The
// repository can be used meanwhile.
func (r *Repository) WritePack(ctx context.Context, w io.Writer, wants, known []ID, offsets bool) error {
	own, err := Open(r.commonDir) // an own handle, so that nobody waits for the encoder
	if err != nil {
		return err
	}
	defer own.Close()
	objects, err := own.between(hashes(wants), hashes(known))
	if err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	if _, err := packfile.NewEncoder(&stopping{w, ctx}, own.storage, !offsets).Encode(objects, deltaWindow); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	return nil
}

// between are the objects of the tips that are not of what is known.
func (r *Repository) between(tips, known []plumbing.Hash) ([]plumbing.Hash, error) {
	objects, err := revlist.Objects(r.storage, tips, known)
	slices.SortFunc(objects, func(a, b plumbing.Hash) int { return slices.Compare(a[:], b[:]) })
	return objects, err
}

func hashes(ids []ID) []plumbing.Hash {
	out := make([]plumbing.Hash, len(ids))
	for i, id := range ids {
		out[i] = plumbing.Hash(id)
	}
	return out
}
