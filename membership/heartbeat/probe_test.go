package heartbeat_test

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/membership/heartbeat"
)

// link carries probes and answers, and loses some of each.
type link struct {
	server *heartbeat.Server
	client *heartbeat.Client

	mu      sync.Mutex // guards what follows
	random  *rand.Rand
	up      float64 // part of the probes that is lost
	down    float64
	answers [][]byte
	probes  [][]byte // that arrived
}

func (l *link) lost(part float64) bool { return l.random.Float64() < part }

func (l *link) send(_ string, message []byte) {
	l.mu.Lock()
	lost := l.lost(l.up)
	if !lost {
		l.probes = append(l.probes, message)
	}
	l.mu.Unlock()
	if lost {
		return
	}
	_, answer, err := l.server.Probed(message)
	l.mu.Lock()
	lost = l.lost(l.down)
	if err == nil {
		l.answers = append(l.answers, answer)
	}
	l.mu.Unlock()
	if err == nil && !lost {
		l.client.Receive(answer)
	}
}

func (l *link) set(up, down float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.down = up, down
}

// still is a transport whose streams open and then stand still.
type still struct {
	server http.Handler
	tries  *atomic.Int64
}

// RoundTrip opens a stream as the server would, and holds it.
func (s still) RoundTrip(r *http.Request) (*http.Response, error) {
	go func() { _, _ = io.Copy(io.Discard, r.Body) }() // ends with the client's end of the pipe
	header := make(chan http.Header, 1)
	w := &writer{ctx: r.Context(), header: http.Header{}, sent: header}
	request := r.Clone(r.Context())
	request.ProtoMajor = 2
	request.Header.Set("Node", "n1")
	request.Body = w
	go s.server.ServeHTTP(w, request)
	answered := <-header
	// Two of three answers are lost, with the keys that they would bring.
	if s.tries.Add(1)%3 != 1 {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Header: answered, Body: w}, nil
}

// writer is both bodies of a stream on which nothing moves.
type writer struct {
	ctx    context.Context
	header http.Header
	sent   chan http.Header
}

func (w *writer) Header() http.Header             { return w.header }
func (w *writer) WriteHeader(int)                 { w.sent <- w.header.Clone() }
func (w *writer) Write(b []byte) (int, error)     { return len(b), nil }
func (w *writer) SetReadDeadline(time.Time) error { return nil }
func (w *writer) SetWriteDeadline(time.Time) error {
	return nil
}
func (w *writer) Close() error { return nil }
func (w *writer) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

// age is how long ago the server knew of a round trip.
func (l *link) age() time.Duration { return time.Since(l.server.State("n1").Probed) }

// settled is, in simulated time, more than a stream and its probes take to begin.
const settled = 5 * time.Second

// TestProbesTellLossFromDeath runs an agent whose stream stands still.
func TestProbesTellLossFromDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := heartbeat.NewServer(func(r *http.Request) (string, bool) { return r.Header.Get("Node"), true }, clock.RealClock{})
		l := &link{server: server, random: rand.New(rand.NewPCG(1, 2))}
		l.client = &heartbeat.Client{HTTP: &http.Client{Transport: still{server, new(atomic.Int64)}}, Servers: func() []string { return []string{"https://s"} }, Send: l.send,
			Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.client.Run(ctx) }()
		<-time.After(settled)
		l.set(0.2, 0.2)
		longest, tick := time.Duration(0), time.NewTicker(100*time.Millisecond)
		defer tick.Stop()
		for range 36_000 { // an hour
			<-tick.C
			longest = max(longest, l.age())
		}
		if longest >= heartbeat.Patience {
			t.Errorf("at 20%% loss each way no round trip was known for %v", longest)
		}
		for name, parts := range map[string][2]float64{"nothing comes in": {0, 1}, "nothing goes out": {1, 0}} {
			l.set(0, 0)
			<-time.After(settled)
			l.set(parts[0], parts[1])
			<-time.After(heartbeat.Patience + 200*time.Millisecond)
			if l.age() < heartbeat.Patience {
				t.Errorf("%s: a round trip %v ago", name, l.age())
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, message := range l.probes[max(0, len(l.probes)-50):] {
			if _, _, err := server.Probed(message); err == nil {
				t.Fatal("a probe was believed twice")
			}
		}
	})
}

func TestForgedProbesAreNotBelieved(t *testing.T) {
	t.Parallel()
	server, front := serve(t)
	stop := beat(t, "n1", front, func() []string { return []string{front.URL} })
	defer stop()
	if err := server.Await(t.Context(), "n1", func(s heartbeat.State) bool { return s.Alive }); err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{"", "p", "pn1", "p" + string(make([]byte, 32)) + "n1", "p" + string(make([]byte, 32)) + "nobody", "a" + string(make([]byte, 32)) + "n1"} {
		if _, _, err := server.Probed([]byte(message)); err == nil {
			t.Errorf("%q was believed", message)
		}
	}
	if at := server.State("n1").Probed; !at.IsZero() {
		t.Errorf("probed at %v", at)
	}
}
