package repo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// The first lines of the bundles that are understood.
const (
	bundleV2 = "# v2 git bundle"
	bundleV3 = "# v3 git bundle"
)

// maxBundleLine is how long a line of a bundle's header may be.
const maxBundleLine = 4096

// IsBundle tells whether a file on this machine begins as a bundle does.
func IsBundle(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(bundleV2))
	_, err = io.ReadFull(f, head)
	return err == nil && (string(head) == bundleV2 || string(head) == bundleV3)
}

// bundle is the header of a bundle, as gitformat-bundle has it.
type bundle struct {
	needs []ID // what whoever reads it must have
	refs  map[string]ID
	head  ID
}

// Unbundle brings the mirror up to what a bundle has. A bundle that begins in
// the middle of history needs what comes before to be here already, from
// earlier bundles under the same name. It tells whether a reference has moved.
func (r *Repository) Unbundle(ctx context.Context, path string) (moved bool, err error) {
	return r.unbundle(ctx, path, func(context.Context, ID, ID) (bool, error) { return true, nil })
}

// UnbundleForward is Unbundle for references that do not go back by it: those
// stay that the bundle's commits do not descend from.
func (r *Repository) UnbundleForward(ctx context.Context, path string) (moved bool, err error) {
	return r.unbundle(ctx, path, r.IsAncestor)
}

func (r *Repository) unbundle(ctx context.Context, path string, may func(ctx context.Context, old, new ID) (bool, error)) (moved bool, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // nobody may write to a pipe
		return false, fmt.Errorf("bundle %s: it is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("open bundle: %w", err)
	}
	defer f.Close()
	reader := bufio.NewReaderSize(f, maxBundleLine)
	b, err := readBundle(reader, DefaultLimits.Refs)
	if err != nil {
		return false, fmt.Errorf("bundle %s: %w", path, err)
	}
	have, err := r.references()
	if err != nil {
		return false, err
	}
	if b.news(have) {
		if err := r.storeBundle(ctx, reader, b); err != nil {
			return false, fmt.Errorf("bundle %s: %w", path, err)
		}
	}
	wanted := maps.Clone(have) // a bundle of some branches says nothing about others
	for name, id := range b.refs {
		old, known := have[name]
		if known && old != id {
			ok, err := may(ctx, old, id)
			if err != nil {
				return false, fmt.Errorf("bundle %s: %w", path, err)
			}
			if !ok {
				continue
			}
		}
		wanted[name] = id
	}
	return r.moveRefs(have, wanted, b.advertised())
}

// StoreBundle takes in the objects of a bundle, whole or not at all, and gives
// the branches and tags that it names. None of the repository's is moved.
func (r *Repository) StoreBundle(ctx context.Context, from io.Reader) (map[string]ID, error) {
	reader := bufio.NewReaderSize(from, maxBundleLine)
	b, err := readBundle(reader, DefaultLimits.Refs)
	if err == nil {
		err = r.storeBundle(ctx, reader, b)
	}
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return b.refs, nil
}

// storeBundle takes in the pack behind a bundle's header.
func (r *Repository) storeBundle(ctx context.Context, pack io.Reader, b *bundle) error {
	if err := r.meets(b.needs); err != nil {
		return err
	}
	fresh, err := r.storeThinPack(ctx, pack, DefaultLimits)
	if err != nil {
		return err
	}
	for _, id := range b.refs {
		if err := r.complete(ctx, id, fresh); err != nil {
			return err
		}
	}
	return nil
}

// readBundle reads the header and leaves the reader at the pack.
func readBundle(r *bufio.Reader, maxRefs int) (*bundle, error) {
	first, err := headerLine(r)
	if err != nil {
		return nil, err
	}
	if first != bundleV2 && first != bundleV3 {
		return nil, errors.New("it is not a bundle of version 2 or 3")
	}
	b := &bundle{refs: map[string]ID{}}
	for n := 0; ; n++ {
		line, err := headerLine(r)
		switch {
		case err != nil:
			return nil, err
		case line == "" && len(b.refs) == 0:
			return nil, errors.New("it has no branch or tag")
		case line == "":
			return b, nil
		case n > maxRefs:
			return nil, fmt.Errorf("more than %d references: %w", maxRefs, ErrTooLarge)
		}
		if err := b.take(line, first == bundleV3); err != nil {
			return nil, err
		}
	}
}

func (b *bundle) take(line string, v3 bool) error {
	if capability, ok := strings.CutPrefix(line, "@"); ok && v3 {
		if capability != "object-format=sha1" {
			return fmt.Errorf("it needs %q, which is not understood", shorten(capability))
		}
		return nil
	}
	needed := strings.HasPrefix(line, "-")
	hex, name, _ := strings.Cut(strings.TrimPrefix(line, "-"), " ")
	id, err := ParseID(hex)
	if err != nil {
		return fmt.Errorf("damaged header: %w", err)
	}
	switch {
	case needed:
		b.needs = append(b.needs, id)
	case name == "HEAD":
		b.head = id
	case mirrored(name) && invalidName(name) == nil:
		b.refs[name] = id
	}
	return nil
}

func headerLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("a line of the header: %w", ErrTooLarge)
	}
	if err != nil {
		return "", fmt.Errorf("read header: %w", io.ErrUnexpectedEOF)
	}
	return string(line[:len(line)-1]), nil
}

// news tells whether the bundle has a reference that is not in the mirror.
func (b *bundle) news(have map[string]ID) bool {
	known := map[ID]bool{}
	for _, id := range have {
		known[id] = true
	}
	for _, id := range b.refs {
		if !known[id] {
			return true
		}
	}
	return false
}

// advertised is what the bundle says as a remote says it. Which branch HEAD
// names it does not say: of those that are where HEAD is, main, master or the
// first by name.
func (b *bundle) advertised() *packp.AdvRefs {
	adv := packp.NewAdvRefs()
	var best string
	for name, id := range b.refs {
		if id != b.head || !strings.HasPrefix(name, "refs/heads/") {
			continue
		}
		if best == "" || rank(name) < rank(best) || rank(name) == rank(best) && name < best {
			best = name
		}
	}
	if best == "" {
		return adv
	}
	// A capability, as protocol v1 has it; it is well formed.
	_ = adv.Capabilities.Add("symref", "HEAD:"+best)
	adv.References[best] = plumbing.Hash(b.head)
	head := plumbing.Hash(b.head)
	adv.Head = &head
	return adv
}

func rank(branch string) int {
	switch branch {
	case "refs/heads/main":
		return 0
	case "refs/heads/master":
		return 1
	}
	return 2
}

// meets tells whether everything that a bundle builds on is here.
func (r *Repository) meets(needs []ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range needs {
		if _, err := r.commit(id); err != nil {
			return fmt.Errorf("it builds on commit %s, which is not here: bring an earlier bundle first, or one with all of history", id)
		}
	}
	return nil
}
