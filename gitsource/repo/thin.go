package repo

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
)

// storeThinPack takes in a pack whose deltas may build on objects that are
// here and not in the pack, as bundles have it.
func (r *Repository) storeThinPack(ctx context.Context, from io.Reader, limits Limits) (fresh func(ID) bool, err error) {
	return r.takeIn(ctx, from, limits, func(pack *os.File, bases []ID) error { return r.fatten(pack, bases, limits) })
}

// fatten appends the bases that are here to a pack: on disk, a pack stands
// alone. One that the pack has as well is there twice, which does no harm.
func (r *Repository) fatten(pack *os.File, bases []ID, limits Limits) error {
	end, err := pack.Seek(-sha1.Size, io.SeekEnd)
	if err != nil {
		return err
	}
	added, done := uint32(0), map[ID]bool{}
	for _, id := range bases {
		if done[id] {
			continue
		}
		done[id] = true
		r.mu.Lock()
		kind, content, err := r.read(plumbing.AnyObject, id, limits.Object)
		r.mu.Unlock()
		if err != nil {
			continue // it is in the pack, or the index will say what is missing
		}
		entry := packEntry(kind, content)
		if _, err := pack.WriteAt(entry, end); err != nil {
			return err
		}
		end += int64(len(entry))
		added++
	}
	if added == 0 {
		return nil
	}
	return seal(pack, end, added)
}

// seal corrects a pack's number of objects and its checksum.
func seal(pack *os.File, end int64, added uint32) error {
	var count [4]byte
	if _, err := pack.ReadAt(count[:], 8); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(count[:], binary.BigEndian.Uint32(count[:])+added)
	if _, err := pack.WriteAt(count[:], 8); err != nil {
		return err
	}
	sum := sha1.New()
	if _, err := io.Copy(sum, io.NewSectionReader(pack, 0, end)); err != nil {
		return err
	}
	_, err := pack.WriteAt(sum.Sum(nil), end)
	return err
}

// packEntry is a whole object as packs have it.
func packEntry(kind plumbing.ObjectType, content []byte) []byte {
	var b bytes.Buffer
	size := uint64(len(content))
	first := byte(kind)<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b.WriteByte(first | 0x80)
		first = byte(size & 127)
	}
	b.WriteByte(first)
	z := zlib.NewWriter(&b)
	_, _ = z.Write(content) // into memory
	_ = z.Close()
	return b.Bytes()
}
