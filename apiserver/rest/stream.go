package rest

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// stream writes frames to a client and flushes once a batch. It has a buffer
// only while it has something to say: thousands of streams are silent most of
// the time.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  *[]byte // of the pool, or nil
	guard   *stallGuard
}

// streamBuffer is how much is gathered before it is handed to the connection,
// and keptBuffer the largest buffer that goes back to the pool.
const (
	streamBuffer = 32 << 10
	keptBuffer   = 4 * streamBuffer
)

var streamBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, streamBuffer+streamBuffer/4)
	return &b
}}

func newStream(w http.ResponseWriter, media string, stall time.Duration) *stream {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	return &stream{w: w, control: control, guard: newStallGuard(control, stall)}
}

// write has a frame appended to what is to be sent.
func (s *stream) write(frame func(dst []byte) ([]byte, error)) error {
	if s.buffer == nil {
		s.buffer = streamBuffers.Get().(*[]byte)
	}
	b, err := frame(*s.buffer)
	*s.buffer = b
	if err != nil || len(b) < streamBuffer {
		return err
	}
	return s.drain()
}

// empty tells that there is nothing to flush.
func (s *stream) empty() bool { return s.buffer == nil }

func (s *stream) drain() error {
	if s.buffer == nil {
		return nil
	}
	s.guard.begin()
	_, err := s.w.Write(*s.buffer)
	s.guard.end()
	if cap(*s.buffer) <= keptBuffer {
		*s.buffer = (*s.buffer)[:0]
		streamBuffers.Put(s.buffer)
	}
	s.buffer = nil
	if err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

func (s *stream) flush() error {
	if err := s.drain(); err != nil {
		return err
	}
	s.guard.begin()
	err := s.control.Flush()
	s.guard.end()
	if err != nil {
		return fmt.Errorf("flush to the client: %w", err)
	}
	return nil
}

// fail ends the stream with an ERROR event; whether the client still hears it
// makes no difference.
func (s *stream) fail(err error, f *frames) {
	failed := s.write(func(dst []byte) ([]byte, error) { return f.failure(dst, statusOf(err)), nil })
	if failed == nil {
		_ = s.flush() // the stream ends in either case
	}
}

// stallGuard cuts off a client that does not take what is written to it for
// longer than it may. A timer does it and not the connection's own deadline:
// over HTTP/2 that is a message to another goroutine each time it is set, and
// one that passes ends the stream even when nothing is being written.
type stallGuard struct {
	stall time.Duration
	timer *time.Timer
}

func newStallGuard(control *http.ResponseController, stall time.Duration) *stallGuard {
	g := &stallGuard{stall: stall}
	g.timer = time.AfterFunc(stall, func() {
		// Where there is no connection that could have one, nothing stalls.
		_ = control.SetWriteDeadline(time.Unix(1, 0))
	})
	g.timer.Stop()
	return g
}

func (g *stallGuard) begin() { g.timer.Reset(g.stall) }
func (g *stallGuard) end()   { g.timer.Stop() }
