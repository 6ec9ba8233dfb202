package logkeeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/crilog"
)

type stream struct {
	owner *kept
	name  crilog.Stream
	fifo  *os.File
	// pending is nil where there is no log; guarded by owner.mu but for take.
	pending *pending
	begun   *intent // of the last keeper, until recover
}

// openFIFO makes the FIFO if need be and opens both its ends.
func openFIFO(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make FIFO directory: %w", err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make FIFO %s: %w", path, err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open FIFO %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// run reads until release. A buffer is only held while there is something to
// read, so idle containers cost a parked goroutine each.
func (s *stream) run() {
	defer s.owner.wait.Done()
	raw, err := s.fifo.SyscallConn()
	if err != nil {
		return
	}
	for {
		if err := raw.Read(s.take); err != nil {
			break
		}
	}
	// The deadline has passed: take what is still in the pipe, without waiting.
	for more := true; more; {
		if err := raw.Control(func(fd uintptr) { more = s.take(fd) }); err != nil {
			break
		}
	}
}

// take reads once and says whether there was something.
func (s *stream) take(fd uintptr) bool {
	if s.pending == nil {
		_, more := s.takeForTails(fd)
		return more
	}
	n, err := s.pending.take(int(fd))
	switch {
	case n > 0:
		s.owner.accept(s, n)
		return true
	case errors.Is(err, unix.EINTR):
		return true
	case errors.Is(err, unix.EAGAIN):
		return false
	default:
		return s.drop(fd)
	}
}

// drop reads what cannot be put aside: the writer must never wait for a full disk.
func (s *stream) drop(fd uintptr) bool {
	n, more := s.takeForTails(fd)
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	s.owner.config.Dropped += int64(n)
	return more
}

// takeForTails reads once for the tails alone. It gives the bytes read, and
// whether it is worth trying again.
func (s *stream) takeForTails(fd uintptr) (n int, more bool) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	n, err := unix.Read(int(fd), *buffer)
	if err != nil || n <= 0 {
		return 0, errors.Is(err, unix.EINTR)
	}
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	s.owner.feedTails(s.name, (*buffer)[:n])
	return n, true
}

const readSize = 64 << 10

// buffers have room for the text behind the last newline and one more read.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, crilog.MaxLine+readSize)
	return &b
}}

// encoded are buffers for entries on their way to the file.
var encoded = sync.Pool{New: func() any {
	b := make([]byte, 0, 2*readSize)
	return &b
}}

func (s *stream) removeFiles() error {
	if err := os.Remove(s.fifo.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove FIFO: %w", err)
	}
	if s.pending == nil {
		return nil
	}
	return s.pending.remove()
}
