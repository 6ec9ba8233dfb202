package logkeeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pending is a file beside a stream's FIFO that holds what has left the FIFO
// and is not yet in the log: a keeper may be killed between any two
// instructions, and the next one neither loses nor repeats a byte.
//
//	FIFO ──splice──▶ pending ──encode──▶ log
//
// One splice moves bytes and makes the file longer by as many: a signal ends
// the process before or after it. The header says up to where the bytes are in
// the log, and before each write what is about to be written, so that the next
// keeper makes the same entries again and adds what is missing of them.
//
// It lives in memory (the FIFOs' file system) and shrinks to its header
// whenever all is written.
type pending struct {
	file *os.File
	done int64 // bytes of the file that are in the log
	end  int64 // bytes of the file
}

// intent is a write to the log that has begun.
type intent struct {
	to      int64     // the log gets the bytes from done up to here
	at      time.Time // of its entries
	logSize int64     // before the write
	logFile uint64    // inode
}

const (
	pendingHeader  = 64
	pendingVersion = 1
	// maxPending bounds the file when text never ends at the end of a read.
	maxPending = 1 << 20
)

func pendingPath(fifo string) string { return fifo + ".pending" }

// openPending opens the file or makes it. begun is the write that the last
// keeper began and may not have ended, or nil.
func openPending(path string) (p *pending, begun *intent, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open pending output: %w", err)
	}
	p = &pending{file: file}
	begun, err = p.load()
	if err != nil {
		p.close()
		return nil, nil, fmt.Errorf("open pending output: %w", err)
	}
	return p, begun, nil
}

func (p *pending) load() (*intent, error) {
	info, err := p.file.Stat()
	if err != nil {
		return nil, err
	}
	var h [pendingHeader]byte
	if info.Size() < pendingHeader {
		return nil, p.reset()
	}
	if _, err := p.file.ReadAt(h[:], 0); err != nil {
		return nil, err
	}
	if v := binary.LittleEndian.Uint64(h[0:]); v != pendingVersion {
		return nil, fmt.Errorf("%s has version %d, not %d", p.file.Name(), v, pendingVersion)
	}
	p.done, p.end = int64(binary.LittleEndian.Uint64(h[8:])), info.Size()-pendingHeader
	i := intent{
		to: int64(binary.LittleEndian.Uint64(h[16:])), at: time.Unix(0, int64(binary.LittleEndian.Uint64(h[24:]))),
		logSize: int64(binary.LittleEndian.Uint64(h[32:])), logFile: binary.LittleEndian.Uint64(h[40:]),
	}
	if p.end < p.done || p.end < i.to {
		// Killed between making it short and saying so: all was written.
		return nil, p.reset()
	}
	if i.to <= p.done {
		return nil, nil
	}
	return &i, nil
}

// store writes the header. One write of few bytes is whole or absent after a kill.
func (p *pending) store(i intent) error {
	var h [pendingHeader]byte
	binary.LittleEndian.PutUint64(h[0:], pendingVersion)
	binary.LittleEndian.PutUint64(h[8:], uint64(p.done))
	binary.LittleEndian.PutUint64(h[16:], uint64(i.to))
	binary.LittleEndian.PutUint64(h[24:], uint64(i.at.UnixNano()))
	binary.LittleEndian.PutUint64(h[32:], uint64(i.logSize))
	binary.LittleEndian.PutUint64(h[40:], i.logFile)
	_, err := p.file.WriteAt(h[:], 0)
	return err
}

// take moves up to readSize bytes from the FIFO. unix.EAGAIN: it is empty.
func (p *pending) take(fifo int) (int, error) {
	at := pendingHeader + p.end
	n, err := unix.Splice(fifo, nil, int(p.file.Fd()), &at, readSize, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	if n > 0 {
		p.end += n
	}
	return int(max(n, 0)), err
}

// read returns the bytes from done up to to in buffer.
func (p *pending) read(buffer []byte, to int64) ([]byte, error) {
	data := buffer[:min(int64(len(buffer)), to-p.done)]
	if _, err := p.file.ReadAt(data, pendingHeader+p.done); err != nil {
		return nil, err
	}
	return data, nil
}

// finish says that the bytes up to to are in the log.
func (p *pending) finish(to int64) error {
	p.done = to
	if p.done == p.end {
		return p.reset()
	}
	return p.store(intent{})
}

// reset empties the file.
func (p *pending) reset() error {
	if err := p.file.Truncate(pendingHeader); err != nil {
		return err
	}
	p.done, p.end = 0, 0
	return p.store(intent{})
}

func (p *pending) close() { _ = p.file.Close() } // every write was checked

func (p *pending) remove() error {
	if err := os.Remove(p.file.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove pending output: %w", err)
	}
	return nil
}
