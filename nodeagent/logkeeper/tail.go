package logkeeper

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/headway-sh/headway/nodeagent/crilog"
)

const (
	// maxBehind is how far a tail may be behind before it is cut off: the
	// container's writer never waits for it.
	maxBehind  = 1 << 20
	headerSize = 5

	frameStdout byte = 1
	frameStderr byte = 2
)

// tail is one attached client's queue of frames.
type tail struct {
	mu     sync.Mutex // guards queue and closed
	queue  []byte
	closed bool
	wake   chan struct{}
}

func newTail() *tail { return &tail{wake: make(chan struct{}, 1)} }

func (t *tail) push(stream crilog.Stream, data []byte) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.queue)+len(data) > maxBehind {
		t.closed = true
		t.poke()
		return false
	}
	kind := frameStdout
	if stream == crilog.Stderr {
		kind = frameStderr
	}
	t.queue = append(t.queue, kind)
	t.queue = binary.BigEndian.AppendUint32(t.queue, uint32(len(data)))
	t.queue = append(t.queue, data...)
	t.poke()
	return true
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.poke()
}

func (t *tail) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// copyTo sends frames until the tail is closed and empty, or w fails.
func (t *tail) copyTo(w io.Writer) error {
	for range t.wake {
		t.mu.Lock()
		frames, closed := t.queue, t.closed
		t.queue = nil
		t.mu.Unlock()
		if len(frames) > 0 {
			if _, err := w.Write(frames); err != nil {
				return fmt.Errorf("send output: %w", err)
			}
		}
		if closed {
			return nil
		}
	}
	return nil
}

func (k *kept) feedTails(stream crilog.Stream, data []byte) {
	for t := range k.tails {
		if !t.push(stream, data) {
			delete(k.tails, t)
		}
	}
}

func (k *kept) attach(t *tail) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tails[t] = struct{}{}
}

func (k *kept) detach(t *tail) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.tails, t)
	t.close()
}

// readFrame reads one frame into buffer, which grows as needed.
func readFrame(r io.Reader, buffer []byte) (kind byte, data []byte, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(header[1:]))
	if size > maxBehind {
		return 0, nil, fmt.Errorf("frame of %d bytes", size)
	}
	if cap(buffer) < size {
		buffer = make([]byte, size)
	}
	_, err = io.ReadFull(r, buffer[:size])
	return header[0], buffer[:size], err
}
