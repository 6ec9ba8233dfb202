package heartbeat_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/internal/awake"
	"github.com/headway-sh/headway/membership/heartbeat"
)

// dueClock hands due functions to the test: a fake clock would call them with
// its lock held, and they ask for the time.
type dueClock struct {
	*clocktesting.FakeClock
	due chan func()
}

func (c dueClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	return c.FakeClock.AfterFunc(d, func() { c.due <- f })
}

// step lets time pass at once, and then calls what became due.
func (c dueClock) step(d time.Duration) {
	c.Step(d)
	for len(c.due) > 0 {
		(<-c.due)()
	}
}

// stream is a request whose beats the test sends.
type stream struct {
	header   http.Header
	beats    chan struct{}
	echoes   chan struct{}
	deadline chan struct{}
}

func (s *stream) Header() http.Header              { return s.header }
func (s *stream) WriteHeader(int)                  {}
func (s *stream) Flush()                           {}
func (s *stream) Close() error                     { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { close(s.deadline); return nil }
func (s *stream) Write(b []byte) (int, error)      { s.echoes <- struct{}{}; return len(b), nil }

func (s *stream) Read(b []byte) (int, error) {
	select {
	case <-s.beats:
		b[0] = '.'
		return 1, nil
	case <-s.deadline:
		return 0, os.ErrDeadlineExceeded
	}
}

// TestServerThatStoodStillBlamesNobody: a stream whose beats wait to be read is
// not silent; one that stays silent is found out soon, and Patience after its
// last beat where the server has run.
func TestServerThatStoodStillBlamesNobody(t *testing.T) {
	t.Parallel()
	base := dueClock{clocktesting.NewFakeClock(time.Unix(1000, 0)), make(chan func(), 64)}
	clk := awake.New(base, slog.New(slog.DiscardHandler))
	server := heartbeat.NewServer(func(r *http.Request) (string, bool) { return r.Header.Get("Node"), true }, clk)
	s := &stream{http.Header{}, make(chan struct{}), make(chan struct{}), make(chan struct{})}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, heartbeat.Path, s)
	request.ProtoMajor = 2
	request.Header.Set("Node", "n1")
	done := make(chan struct{})
	go func() { defer close(done); server.ServeHTTP(s, request) }()
	const look = 250 * time.Millisecond
	run := func(d time.Duration) {
		for range d / look {
			base.step(look)
			clk.Now()
		}
	}
	beat := func() { s.beats <- struct{}{}; <-s.echoes }
	for range 5 {
		beat()
		run(heartbeat.Interval)
	}
	base.step(10 * time.Second)
	beat() // it has waited in the socket
	run(heartbeat.Patience - look)
	if !server.State("n1").Alive {
		t.Fatal("lost though its beat was read after the stall")
	}
	beat()
	base.step(10 * time.Second)
	run(heartbeat.Patience - look)
	if !server.State("n1").Alive {
		t.Error("lost without Patience of the server's own")
	}
	run(5*time.Second - heartbeat.Patience + look)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := server.Await(ctx, "n1", func(state heartbeat.State) bool { return !state.Alive }); err != nil {
		t.Error("not lost 5 s after the end of the stall")
	}
	if server.State("n1").Reset {
		t.Error("silence is taken for a reset")
	}
	<-done
}
