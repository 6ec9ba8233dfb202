package logkeeper

import (
	"fmt"
	"sync"
	"time"

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

func keep(config Container, log *logFile) (*kept, error) {
	k := &kept{config: config, log: log, tails: map[*tail]struct{}{}}
	for _, s := range []struct {
		name crilog.Stream
		path string
	}{{crilog.Stdout, config.Stdout}, {crilog.Stderr, config.Stderr}} {
		if s.path == "" {
			continue
		}
		if err := k.open(s.name, s.path); err != nil {
			k.closeStreams()
			return nil, err
		}
	}
	if err := k.recover(); err != nil {
		k.closeStreams()
		return nil, err
	}
	for _, s := range k.streams {
		k.wait.Add(1)
		go s.run()
	}
	return k, nil
}

// open adds a stream.
func (k *kept) open(name crilog.Stream, path string) error {
	fifo, err := openFIFO(path)
	if err != nil {
		return err
	}
	s := &stream{owner: k, name: name, fifo: fifo}
	k.streams = append(k.streams, s)
	if k.log == nil {
		return nil
	}
	s.pending, s.begun, err = openPending(pendingPath(path))
	return err
}

// recover ends the write that the last keeper began, and then writes what it
// had taken and not begun to write: the log must be as the write left it.
func (k *kept) recover() error {
	for _, s := range k.streams {
		if s.begun == nil {
			continue
		}
		if err := k.complete(s, *s.begun); err != nil {
			return err
		}
		s.begun = nil
	}
	for _, s := range k.streams {
		if s.pending != nil && s.pending.done < s.pending.end {
			k.accept(s, 0)
		}
	}
	return nil
}

// accept shows the last n bytes that were taken to the tails, and writes what
// are whole lines to the log.
func (k *kept) accept(s *stream, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	data, err := s.pending.read(*buffer, s.pending.end)
	if err != nil {
		k.lose(s)
		return
	}
	k.feedTails(s.name, data[len(data)-n:])
	to := s.pending.end
	if to < maxPending {
		_, rest := crilog.Split(data)
		to -= int64(len(rest))
	}
	k.write(s, data[:int64(len(data))-(s.pending.end-to)], to)
}

// write puts data, the pending bytes up to to, into the log.
func (k *kept) write(s *stream, data []byte, to int64) {
	if len(data) == 0 {
		return
	}
	out := encoded.Get().(*[]byte)
	defer encoded.Put(out)
	at := time.Now()
	lines := entries((*out)[:0], at, s.name, data)
	if cap(lines) <= 4*readSize {
		*out = lines // empty lines grow a lot; do not keep such a buffer
	}
	size, inode, err := k.log.position()
	if err == nil {
		err = s.pending.store(intent{to: to, at: at, logSize: size, logFile: inode})
	}
	if err == nil {
		err = k.log.write(lines)
	}
	if err != nil {
		k.config.Dropped += int64(len(lines)) // the writer must never wait for a full disk
	}
	if err := s.pending.finish(to); err != nil {
		k.lose(s)
	}
}

// entries encodes all of data: a last line without a newline is a part.
func entries(dst []byte, at time.Time, name crilog.Stream, data []byte) []byte {
	lines, rest := crilog.Encode(dst, at, name, data)
	if len(rest) > 0 {
		lines = crilog.Append(lines, at, name, true, rest)
	}
	return lines
}

// lose gives up what is pending and cannot be read or noted.
func (k *kept) lose(s *stream) {
	k.config.Dropped += s.pending.end - s.pending.done
	_ = s.pending.reset() // counted; the next read tries again
}

// complete adds to the log what is missing of the entries of begun.
func (k *kept) complete(s *stream, begun intent) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	data, err := s.pending.read(*buffer, begun.to)
	if err != nil {
		return fmt.Errorf("read pending output: %w", err)
	}
	size, inode, err := k.log.position()
	if err != nil {
		return err
	}
	// Another file: the write ended and the log was rotated after it.
	if inode == begun.logFile {
		lines := entries(nil, begun.at, s.name, data)
		lines = lines[min(max(size-begun.logSize, 0), int64(len(lines))):]
		if err := k.log.write(lines); err != nil {
			return err
		}
	}
	return s.pending.finish(begun.to)
}

// end writes what has no newline.
func (k *kept) end(s *stream) {
	if s.pending == nil {
		return
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	data, err := s.pending.read(*buffer, s.pending.end)
	if err != nil {
		k.lose(s)
		return
	}
	k.write(s, data, s.pending.end)
}

// stop reads what the FIFOs hold.
func (k *kept) stop() {
	for _, s := range k.streams {
		_ = s.fifo.SetReadDeadline(time.Unix(1, 0)) // FIFOs can always be polled
	}
	k.wait.Wait()
}

// release lets go of the FIFOs. The next keeper goes on, also with text that
// has no newline yet.
func (k *kept) release() {
	k.stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closeStreams()
}

// remove is release for a container that has ended: all of its text is
// written, and neither FIFO nor pending file stays.
func (k *kept) remove() error {
	k.stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.streams {
		k.end(s)
	}
	k.closeStreams()
	for _, s := range k.streams {
		if err := s.removeFiles(); err != nil {
			return err
		}
	}
	return nil
}

func (k *kept) closeStreams() {
	for t := range k.tails {
		t.close()
	}
	clear(k.tails)
	for _, s := range k.streams {
		_ = s.fifo.Close() // only read from
		if s.pending != nil {
			s.pending.close()
		}
	}
	if k.log != nil {
		k.log.close()
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
