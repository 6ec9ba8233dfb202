package rest

import (
	"fmt"
	"net/http"
	"time"
)

// stream writes frames to a client and flushes once a batch.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  []byte
	stall   time.Duration
}

// streamBuffer is how much is gathered before it is handed to the connection.
const streamBuffer = 32 << 10

func newStream(w http.ResponseWriter, media string, stall time.Duration) *stream {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	return &stream{w: w, control: http.NewResponseController(w), stall: stall}
}

func (s *stream) write(frame []byte) error {
	s.buffer = append(s.buffer, frame...)
	if len(s.buffer) < streamBuffer {
		return nil
	}
	return s.drain()
}

func (s *stream) drain() error {
	defer s.bounded()()
	_, err := s.w.Write(s.buffer)
	s.buffer = s.buffer[:0]
	if err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

func (s *stream) flush() error {
	if err := s.drain(); err != nil {
		return err
	}
	defer s.bounded()()
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("flush to the client: %w", err)
	}
	return nil
}

// bounded bounds the writes until the function that it gives is called: over
// HTTP/2 a bound that passes ends the stream even when nothing is being
// written. Where there is no connection that could have one, nothing needs it.
func (s *stream) bounded() (done func()) {
	setWriteDeadline(s.control, s.stall)
	return func() { setWriteDeadline(s.control, 0) }
}

// fail ends the stream with an ERROR event; whether the client still hears it
// makes no difference.
func (s *stream) fail(err error, f *frames) {
	if s.write(f.failure(statusOf(err))) == nil {
		_ = s.flush() // the stream ends in either case
	}
}
