package logkeeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headway-sh/headway/nodeagent/crilog"
)

// Container is one container's output as the keeper keeps it.
type Container struct {
	ID string `json:"id"`
	// Stdout and Stderr are FIFOs that the keeper makes; Stderr is empty with
	// a terminal.
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr,omitempty"`
	// LogPath is the file in CRI format; empty: output is only for tails.
	LogPath string `json:"logPath,omitempty"`
	// MaxSize in bytes starts a new file; MaxFiles counts the current one.
	// Zero: the keeper's own defaults.
	MaxSize  int64 `json:"maxSize,omitempty"`
	MaxFiles int   `json:"maxFiles,omitempty"`
	// Dropped counts bytes that could not be written (a full disk).
	Dropped int64 `json:"dropped,omitempty"`
}

// kept is a container while the keeper holds it.
type kept struct {
	config Container
	log    *logFile
	wait   sync.WaitGroup

	mu      sync.Mutex // guards all below, and the order of lines
	streams []*stream
	tails   map[*tail]struct{}
}

type stream struct {
	owner *kept
	name  crilog.Stream
	fifo  *os.File
	rest  []byte // text behind the last newline; guarded by owner.mu
}

func keep(config Container, log *logFile) (*kept, error) {
	k := &kept{config: config, log: log, tails: map[*tail]struct{}{}}
	for _, s := range []struct {
		name crilog.Stream
		path string
	}{{crilog.Stdout, config.Stdout}, {crilog.Stderr, config.Stderr}} {
		if s.path == "" {
			continue
		}
		fifo, err := openFIFO(s.path)
		if err != nil {
			k.closeFIFOs()
			return nil, err
		}
		k.streams = append(k.streams, &stream{owner: k, name: s.name, fifo: fifo})
	}
	for _, s := range k.streams {
		k.wait.Add(1)
		go s.run()
	}
	return k, nil
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

// run reads until drain. A buffer is only held while there is something to
// read, so idle containers cost a parked goroutine each.
func (s *stream) run() {
	defer s.owner.wait.Done()
	raw, err := s.fifo.SyscallConn()
	if err != nil {
		return
	}
	for {
		if err := raw.Read(s.readOnce); err != nil {
			break
		}
	}
	// The deadline has passed: take what is still in the pipe, without waiting.
	for more := true; more; {
		if err := raw.Control(func(fd uintptr) { more = s.take(fd) }); err != nil {
			break
		}
	}
	s.owner.end(s)
}

func (s *stream) readOnce(fd uintptr) bool { return s.take(fd) }

// take reads once and says whether there was something.
func (s *stream) take(fd uintptr) bool {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	n, err := unix.Read(int(fd), (*buffer)[crilog.MaxLine:])
	if err != nil || n <= 0 {
		return errors.Is(err, unix.EINTR)
	}
	s.owner.accept(s, *buffer, n)
	return true
}

const readSize = 64 << 10

// buffers leave MaxLine bytes in front for the rest of the last read.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, crilog.MaxLine+readSize)
	return &b
}}

// encoded are buffers for entries on their way to the file.
var encoded = sync.Pool{New: func() any {
	b := make([]byte, 0, 2*readSize)
	return &b
}}

// accept takes the n bytes read into buffer behind its first MaxLine bytes.
func (k *kept) accept(s *stream, buffer []byte, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.feedTails(s.name, buffer[crilog.MaxLine:crilog.MaxLine+n])
	if k.log == nil {
		return
	}
	start := crilog.MaxLine - len(s.rest)
	copy(buffer[start:], s.rest)
	out := encoded.Get().(*[]byte)
	defer encoded.Put(out)
	lines, rest := crilog.Encode((*out)[:0], time.Now(), s.name, buffer[start:crilog.MaxLine+n])
	s.rest = append(s.rest[:0], rest...)
	if cap(lines) <= 4*readSize {
		*out = lines // empty lines grow a lot; do not keep such a buffer
	}
	k.write(lines)
}

func (k *kept) write(lines []byte) {
	if len(lines) == 0 {
		return
	}
	if err := k.log.write(lines); err != nil {
		k.config.Dropped += int64(len(lines)) // the writer must never wait for a full disk
	}
}

// end writes what has no newline.
func (k *kept) end(s *stream) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.log != nil && len(s.rest) > 0 {
		k.write(crilog.Append(nil, time.Now(), s.name, true, s.rest))
	}
	s.rest = nil
}

// release reads what the FIFOs hold, and lets go of them.
func (k *kept) release() {
	for _, s := range k.streams {
		_ = s.fifo.SetReadDeadline(time.Unix(1, 0)) // FIFOs can always be polled
	}
	k.wait.Wait()
	k.closeFIFOs()
	k.mu.Lock()
	defer k.mu.Unlock()
	for t := range k.tails {
		t.close()
	}
	clear(k.tails)
	if k.log != nil {
		k.log.close()
	}
}

func (k *kept) closeFIFOs() {
	for _, s := range k.streams {
		_ = s.fifo.Close() // only read from
	}
}

func (k *kept) snapshot() Container {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.config
}

func (k *kept) rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.log == nil {
		return nil
	}
	return k.log.rotate()
}
