package rest

import (
	"fmt"
	"net/http"
	"time"
)

// stream writes frames to a client and flushes once a batch. It has a buffer
// only while it has something to say: thousands of streams are silent most of
// the time.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	lender  *buffers
	buffer  *buffer // or nil
	guard   *stallGuard
}

// frame is the end of a frame whose beginning is in a buffer: what is shared
// with other streams and must not be written to, and what comes last.
type frame struct {
	shared []byte
	tail   string
}

func newStream(w http.ResponseWriter, media string, stall time.Duration, lender *buffers) *stream {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	return &stream{w: w, control: control, lender: lender, guard: newStallGuard(control, stall)}
}

// write has a frame appended to what is to be sent. What is shared and large is
// not copied, so that a stream that stalls holds nothing of its own.
func (s *stream) write(begin func(dst []byte) ([]byte, frame, error)) error {
	if s.buffer == nil {
		s.buffer = s.lender.take()
	}
	b := s.buffer
	var f frame
	var err error
	if b.bytes, f, err = begin(b.bytes); err != nil {
		return err
	}
	if len(f.shared) >= b.size/2 {
		if err := s.drain(); err != nil {
			return err
		}
		if err := s.send(f.shared); err != nil {
			return err
		}
		return s.write(func(dst []byte) ([]byte, frame, error) { return append(dst, f.tail...), frame{}, nil })
	}
	b.bytes = append(append(b.bytes, f.shared...), f.tail...)
	if len(b.bytes) < b.size {
		return nil
	}
	return s.drain()
}

// empty tells that there is nothing to flush.
func (s *stream) empty() bool { return s.buffer == nil }

// drain hands what was gathered to the connection.
func (s *stream) drain() error {
	if s.buffer == nil {
		return nil
	}
	err := s.send(s.buffer.bytes)
	s.lender.giveBack(s.buffer)
	s.buffer = nil
	return err
}

func (s *stream) send(b []byte) error {
	s.guard.begin()
	_, err := s.w.Write(b)
	s.guard.end()
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
	failed := s.write(func(dst []byte) ([]byte, frame, error) { return f.failure(dst, statusOf(err)), frame{}, nil })
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
