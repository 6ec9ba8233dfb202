package heartbeat_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/membership/heartbeat"
)

// serve runs a heartbeat server over TLS; the node's name is a header.
func serve(t *testing.T) (*heartbeat.Server, *httptest.Server) {
	t.Helper()
	server := heartbeat.NewServer(func(r *http.Request) (string, bool) {
		node := r.Header.Get("Node")
		return node, node != ""
	}, clock.RealClock{})
	front := httptest.NewUnstartedServer(server)
	front.EnableHTTP2 = true
	front.StartTLS()
	t.Cleanup(front.Close)
	return server, front
}

type named struct {
	node string
	http.RoundTripper
}

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Node", n.node)
	return n.RoundTripper.RoundTrip(r)
}

func beat(t *testing.T, node string, front *httptest.Server, servers func() []string) (stop func()) {
	t.Helper()
	_, stop = client(t, node, front, servers)
	return stop
}

func client(t *testing.T, node string, front *httptest.Server, servers func() []string) (c *heartbeat.Client, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c = &heartbeat.Client{HTTP: &http.Client{Transport: named{node, front.Client().Transport}}, Servers: servers, Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return c, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func await(t *testing.T, s *heartbeat.Server, node string, alive bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := s.Await(ctx, node, func(state heartbeat.State) bool { return state.Alive == alive && !state.Since.IsZero() }); err != nil {
		t.Fatalf("node %s never became alive=%v", node, alive)
	}
}

func TestLifeAndDeath(t *testing.T) {
	t.Parallel()
	server, front := serve(t)
	c, stop := client(t, "n1", front, func() []string { return []string{front.URL} })
	await(t, server, "n1", true)
	if err := c.Heard(t.Context()); err != nil { // the stream is open before its first beat
		t.Fatal(err)
	}
	if server.State("n2").Alive {
		t.Error("a node that never beat is alive")
	}
	stop()
	await(t, server, "n1", false)
	if state := server.State("n1"); !state.Reset || state.Heard.IsZero() {
		t.Errorf("after a stream was ended: %+v, want it reset", state)
	}
}

// TestClientBeatsAtEveryServer: each hears it, also one that is told of later,
// and the others go on when one ends.
func TestClientBeatsAtEveryServer(t *testing.T) {
	t.Parallel()
	one, first := serve(t)
	two, second := serve(t)
	var told atomic.Bool
	c, stop := client(t, "n1", second, func() []string {
		if told.Load() {
			return []string{first.URL, second.URL}
		}
		return []string{first.URL}
	})
	defer stop()
	await(t, one, "n1", true)
	told.Store(true)
	await(t, two, "n1", true)
	first.CloseClientConnections()
	first.Close()
	await(t, one, "n1", false)
	if err := c.Heard(t.Context()); err != nil || !two.State("n1").Alive {
		t.Errorf("the other server hears nothing: %v", err)
	}
}

func TestClientGoesToTheNextServer(t *testing.T) {
	t.Parallel()
	_, first := serve(t)
	second, front := serve(t)
	var useFirst atomic.Bool
	useFirst.Store(true)
	stop := beat(t, "n1", front, func() []string {
		if useFirst.Swap(false) {
			return []string{"https://127.0.0.1:1"}
		}
		return []string{front.URL}
	})
	defer stop()
	first.Close()
	await(t, second, "n1", true)
}

func TestStrangerIsRefused(t *testing.T) {
	t.Parallel()
	server, front := serve(t)
	response, err := front.Client().Post(front.URL+heartbeat.Path, "", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden || server.State("").Alive {
		t.Errorf("answered %s", response.Status)
	}
}

func TestClientKnowsWhetherItIsHeard(t *testing.T) {
	t.Parallel()
	_, front := serve(t)
	client := &heartbeat.Client{HTTP: &http.Client{Transport: named{"n1", front.Client().Transport}},
		Servers: func() []string { return []string{front.URL} }, Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler)}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client.Heard(ended); err == nil {
		t.Error("heard before it beat")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	if err := client.Heard(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := client.Heard(ended); err == nil {
		t.Error("heard after its end")
	}
}

// A peer that opens a stream and falls silent is noticed.
func TestSilenceIsNoticed(t *testing.T) {
	t.Parallel()
	server, front := serve(t)
	body := &silentBody{closed: make(chan struct{})}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+heartbeat.Path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Node", "n1")
	response, err := front.Client().Do(request)
	await(t, server, "n1", false)
	if server.State("n1").Reset {
		t.Error("silence is taken for a reset")
	}
	close(body.closed)
	if err == nil {
		response.Body.Close()
	}
}

// silentBody sends one byte and then nothing until it is closed.
type silentBody struct {
	sent   atomic.Bool
	closed chan struct{}
}

func (b *silentBody) Read(p []byte) (int, error) {
	if !b.sent.Swap(true) {
		p[0] = '.'
		return 1, nil
	}
	<-b.closed
	return 0, context.Canceled
}
