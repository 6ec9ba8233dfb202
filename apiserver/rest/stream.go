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
}

// stalled is how long a client of a watch may read nothing before it is cut
// off: it holds a goroutine and a buffer, and can come back and resume.
const stalled = 30 * time.Second

// streamBuffer is how much is gathered before it is handed to the connection.
const streamBuffer = 32 << 10

func newStream(w http.ResponseWriter, media string) *stream {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	return &stream{w: w, control: http.NewResponseController(w)}
}

func (s *stream) write(frame []byte) error {
	s.buffer = append(s.buffer, frame...)
	if len(s.buffer) < streamBuffer {
		return nil
	}
	return s.drain()
}

func (s *stream) drain() error {
	s.deadline(stalled)
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
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("flush to the client: %w", err)
	}
	// HTTP/2 resets a stream at its deadline even when nothing is to be written.
	s.deadline(0)
	return nil
}

// deadline bounds the next writes; 0 takes the bound away. Where there is no
// connection that could have one, nothing needs it.
func (s *stream) deadline(d time.Duration) { setWriteDeadline(s.control, d) }

// fail ends the stream with an ERROR event; whether the client still hears it
// makes no difference.
func (s *stream) fail(err error, f *frames) {
	if s.write(f.failure(statusOf(err))) == nil {
		_ = s.flush() // the stream ends in either case
	}
}
