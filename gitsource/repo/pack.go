package repo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// storePack takes a pack in: onto the disk, looked through, indexed, and only
// then under its name. A pack that is not whole or too much leaves nothing.
// The repository can be read meanwhile. fresh tells what was in it.
func (r *Repository) storePack(ctx context.Context, from io.Reader, limits Limits) (fresh func(ID) bool, err error) {
	return r.takeIn(ctx, from, limits, func(*os.File, []ID) error { return nil })
}

// takeIn is storePack with a chance to complete a pack that has been looked
// through; bases are the objects that its deltas name by their IDs.
func (r *Repository) takeIn(ctx context.Context, from io.Reader, limits Limits, complete func(pack *os.File, bases []ID) error) (fresh func(ID) bool, err error) {
	dir := filepath.Join(r.commonDir, "objects", "pack")
	f, err := os.CreateTemp(dir, tempPack)
	if err != nil {
		return nil, fmt.Errorf("store pack: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(from, limits.PackBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("receive pack: %w", err)
	case n > limits.PackBytes:
		return nil, fmt.Errorf("receive pack: over %d bytes: %w", limits.PackBytes, ErrTooLarge)
	}
	count, bases, err := checkPack(&bounded{f, ctx}, limits)
	if err != nil || count == 0 {
		return func(ID) bool { return false }, err
	}
	if err := complete(f, bases); err != nil {
		return nil, fmt.Errorf("complete pack: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	index := new(idxfile.Writer)
	parser, err := packfile.NewParser(packfile.NewScanner(&bounded{f, ctx}), index)
	if err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	sum, err := parser.Parse()
	if err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	if err := placePack(dir, f, sum, index); err != nil {
		return nil, fmt.Errorf("store pack: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.storage.Reindex()
	content, err := index.Index()
	return func(id ID) bool {
		ok, err := content.Contains(plumbing.Hash(id))
		return ok && err == nil
	}, err
}

// tempPack is what packs are called that are not taken in yet.
const tempPack = "tmp_pack_"

// placePack gives a pack and its index their names, the index last: it is
// what makes the pack be found.
func placePack(dir string, pack *os.File, sum plumbing.Hash, index *idxfile.Writer) error {
	content, err := index.Index()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, tempPack)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = idxfile.NewEncoder(f).Encode(content)
	if err = errors.Join(err, f.Chmod(0o444), f.Sync(), f.Close(), pack.Chmod(0o444), pack.Sync()); err != nil {
		return err
	}
	base := filepath.Join(dir, "pack-"+sum.String())
	if err := os.Rename(pack.Name(), base+".pack"); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), base+".idx"); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bounded is a file that ends with a context: what reads it for long stops.
type bounded struct {
	*os.File
	ctx context.Context // of the one pass over the file
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.File.Read(p)
}

// checkPack reads the sizes that a pack's objects claim before anybody inflates
// them into memory. It gives their number and the bases that deltas name.
func checkPack(f io.ReadSeeker, limits Limits) (count uint32, bases []ID, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, nil, err
	}
	scanner := packfile.NewScanner(f)
	_, count, err = scanner.Header()
	switch {
	case errors.Is(err, packfile.ErrEmptyPackfile):
		return 0, nil, errors.New("check pack: there is none")
	case err != nil:
		return 0, nil, fmt.Errorf("check pack: %w", err)
	case count > limits.Objects:
		return 0, nil, fmt.Errorf("check pack: %d objects (limit %d): %w", count, limits.Objects, ErrTooLarge)
	}
	var total int64
	for range count {
		h, size, err := checkObject(scanner, limits.Object)
		if err != nil {
			return 0, nil, fmt.Errorf("check pack: %w", err)
		}
		if total += size; total > limits.Inflated {
			return 0, nil, fmt.Errorf("check pack: it inflates to more than %d bytes: %w", limits.Inflated, ErrTooLarge)
		}
		if h.Type == plumbing.REFDeltaObject {
			bases = append(bases, ID(h.Reference))
		}
	}
	return count, bases, nil
}

// checkObject passes one object and gives the bytes that it stands for.
func checkObject(scanner *packfile.Scanner, limit int64) (*packfile.ObjectHeader, int64, error) {
	h, err := scanner.NextObjectHeader()
	if err != nil {
		return nil, 0, err
	}
	tooLarge := func(size int64) error {
		return fmt.Errorf("an object of %d bytes (limit %d): %w", size, limit, ErrTooLarge)
	}
	if h.Length > limit || h.Length < 0 {
		return nil, 0, tooLarge(h.Length)
	}
	var head start
	if _, _, err := scanner.NextObject(&head); err != nil {
		return nil, 0, err
	}
	if !h.Type.IsDelta() {
		return h, h.Length, nil
	}
	_, n := binary.Uvarint(head.bytes) // the size of what it changes
	if n <= 0 {
		return nil, 0, errors.New("a damaged delta")
	}
	size, n := binary.Uvarint(head.bytes[n:])
	if n <= 0 {
		return nil, 0, errors.New("a damaged delta")
	}
	if size > uint64(limit) {
		return nil, 0, tooLarge(int64(min(size, 1<<62)))
	}
	return h, h.Length + int64(size), nil
}

// start keeps the first bytes that are written to it.
type start struct{ bytes []byte }

func (s *start) Write(p []byte) (int, error) {
	if room := 2*binary.MaxVarintLen64 - len(s.bytes); room > 0 {
		s.bytes = append(s.bytes, p[:min(room, len(p))]...)
	}
	return len(p), nil
}
