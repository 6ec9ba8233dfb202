package rest_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/rest"
)

// soon stands for the limits of the server in these tests; nobody there waits
// for as long but those who are to be cut off.
const soon = 300 * time.Millisecond

// served is the world behind the server of the product, over TLS.
type served struct {
	*world
	address string
	tls     *tls.Config
}

// serve starts that server; change may shorten its limits.
func (w *world) serve(change func(*http.Server)) *served {
	w.t.Helper()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS() // only for its certificate
	certified.Close()
	server := rest.Server(w, &tls.Config{Certificates: certified.TLS.Certificates}, slog.New(slog.DiscardHandler))
	if change != nil {
		change(server)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(w.t, err)
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	w.t.Cleanup(func() {
		check(w.t, server.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			w.t.Error(err)
		}
	})
	return &served{w, listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}}
}

// dial connects and speaks the protocol "h2" or "http/1.1".
func (s *served) dial(protocol string) *tls.Conn {
	s.t.Helper()
	config := s.tls.Clone()
	config.NextProtos = []string{protocol}
	c, err := tls.Dial("tcp", s.address, config)
	check(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	return c
}

// answers checks that the server serves others.
func (s *served) answers() {
	s.t.Helper()
	c := s.dial("http/1.1")
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nTest-User: bob\r\nConnection: close\r\n\r\n", maps)
	check(s.t, err)
	if text, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(text, []byte("HTTP/1.1 200 ")) {
		s.t.Errorf("another client got %.100q, %v", text, err)
	}
}

// ended waits until the server has closed the connection and gives what it has
// said before.
func ended(t *testing.T, c net.Conn) string {
	t.Helper()
	check(t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
	text, err := io.ReadAll(c)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection is held open")
	}
	return string(text)
}

// TestServerHasLimits: the tests below shorten them.
func TestServerHasLimits(t *testing.T) {
	t.Parallel()
	s := rest.Server(http.NotFoundHandler(), &tls.Config{}, slog.New(slog.DiscardHandler))
	for name, limit := range map[string]time.Duration{"header": s.ReadHeaderTimeout, "body": s.ReadTimeout, "answer": s.WriteTimeout, "idle": s.IdleTimeout} {
		if limit <= 0 || limit > 5*time.Minute {
			t.Errorf("%s: %s", name, limit)
		}
	}
	if s.ReadTimeout <= rest.DefaultRequestTimeout || s.WriteTimeout <= rest.DefaultRequestTimeout {
		t.Error("a request meets the server's limits before the API's own")
	}
}

// TestSlowRequestsAreEnded: whoever does not come to the end of what he has
// begun loses his connection, before and after it is known who he is, and
// others notice nothing.
func TestSlowRequestsAreEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *rest.Config) { c.RequestTimeout, c.Connector = soon/3, connector{} })
	w.namespace("shop")
	s := w.serve(func(h *http.Server) {
		h.ReadHeaderTimeout, h.ReadTimeout, h.WriteTimeout, h.IdleTimeout = soon, soon, 2*soon, soon
	})
	post := func(path, user string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nTest-User: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path, user)
	}
	checks := map[string]func(*testing.T){}
	for name, c := range map[string]struct{ begun, want string }{
		"nothing":                           {"", ""},
		"half a header":                     {"GET /version HTTP/1.1\r\nHost: x\r\nTest-", ""},
		"a body that ends early":            {post(maps, "alice"), "HTTP/1.1 504 "},
		"a body of nobody's":                {post(maps, ""), "HTTP/1.1 401 "},
		"a body for what needs nobody":      {strings.Replace(post("/version", ""), "POST", "GET", 1), ""},
		"a body for a watch":                {strings.Replace(post(maps+"?watch=1", ""), "POST", "GET", 1), "HTTP/1.1 401 "},
		"a body of nobody's for a stream":   {post("/api/v1/namespaces/shop/pods/p/attach", ""), "HTTP/1.1 401 "},
		"a chunk that does not end":         {strings.Replace(post(maps, "alice"), "Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nff\r\n", 1), "HTTP/1.1 504 "},
		"no further request":                {"GET /version HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 "},
		"a second request that is not done": {"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /ver", "HTTP/1.1 200 "},
	} {
		connection := s.dial("http/1.1")
		_, err := io.WriteString(connection, c.begun)
		check(t, err)
		checks[name] = func(t *testing.T) {
			if text := ended(t, connection); !strings.HasPrefix(text, c.want) {
				t.Errorf("got %.200q, want %q", text, c.want)
			}
		}
	}
	silent, err := net.Dial("tcp", s.address)
	check(t, err)
	t.Cleanup(func() { silent.Close() })
	checks["no handshake"] = func(t *testing.T) { ended(t, silent) }
	checks["a header without end"] = func(t *testing.T) {
		drip := time.NewTicker(soon / 10)
		defer drip.Stop()
		s.insist(t, "GET /version HTTP/1.1\r\nHost: x\r\n", "X-More: x\r\n", drip.C)
	}
	// Once the buffers are full of answers the server reads no further requests,
	// until it gives up.
	checks["answers that nobody takes"] = func(t *testing.T) {
		at := make(chan time.Time)
		close(at)
		s.insist(t, "", "GET /version HTTP/1.1\r\nHost: x\r\n\r\n", at)
	}
	s.answers() // while all of them are held
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t)
		})
	}
}

// insist sends again and again, and never reads, until the server has closed
// the connection.
func (s *served) insist(t *testing.T, first, again string, at <-chan time.Time) {
	t.Helper()
	c := s.dial("http/1.1")
	_, err := io.WriteString(c, first)
	check(t, err)
	for err == nil {
		<-at
		check(t, c.SetWriteDeadline(time.Now().Add(30*time.Second)))
		_, err = io.WriteString(c, again)
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection is held open")
	}
}

// TestStreamsOutliveTheLimits: what lasts as long as its client wants is not
// ended with the requests.
func TestStreamsOutliveTheLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.namespace("shop")
	s := w.serve(func(h *http.Server) { h.ReadTimeout, h.WriteTimeout = soon, soon })
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(protocol == "HTTP/1.1")
		protocols.SetHTTP2(protocol != "HTTP/1.1")
		transport := &http.Transport{TLSClientConfig: s.tls.Clone(), Protocols: protocols}
		t.Cleanup(transport.CloseIdleConnections)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.address+maps+"?watch=1&resourceVersion=1", nil)
		check(t, err)
		r.Header.Set("Test-User", "alice")
		response, err := transport.RoundTrip(r)
		check(t, err)
		t.Cleanup(func() { response.Body.Close() })
		if response.Proto != protocol {
			t.Fatalf("speaks %s", response.Proto)
		}
		// What begins after the watch and is ended by the limits has taken longer
		// than any request may.
		slow := s.dial("http/1.1")
		_, err = fmt.Fprintf(slow, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", maps)
		check(t, err)
		ended(t, slow)
		_, err = c.Create(t.Context(), configMap("m", "k", protocol), metav1.CreateOptions{})
		check(t, err)
		frames(t, response, 1)
		check(t, c.Delete(t.Context(), "m", metav1.DeleteOptions{}))
	}
}

// h2 is a client of HTTP/2 that can misbehave.
type h2 struct {
	*http2.Framer
	t     testing.TB
	conn  *tls.Conn
	block bytes.Buffer
	pack  *hpack.Encoder
	next  uint32
}

// dialH2 connects and says the preface.
func (s *served) dialH2(t testing.TB, settings ...http2.Setting) *h2 {
	t.Helper()
	c := s.dial("h2")
	_, err := io.WriteString(c, http2.ClientPreface)
	check(t, err)
	h := &h2{Framer: http2.NewFramer(c, c), t: t, conn: c, next: 1}
	h.pack = hpack.NewEncoder(&h.block)
	check(t, h.WriteSettings(settings...))
	return h
}

// ask sends a request's header; end: that nothing follows, whole: that the
// header is not to be continued.
func (h *h2) ask(method, path, user string, end, whole bool) (stream uint32, err error) {
	h.block.Reset()
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "x"}, {":path", path}, {"test-user", user}, {"content-type", "application/json"}} {
		check(h.t, h.pack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	stream = h.next
	h.next += 2
	return stream, h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.block.Bytes(), EndStream: end, EndHeaders: whole})
}

// until reads frames until one is what is looked for, or the server closes the
// connection.
func (h *h2) until(found func(http2.Frame) bool) (ok bool) {
	h.t.Helper()
	check(h.t, h.conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	for {
		frame, err := h.ReadFrame()
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			h.t.Error("the connection is held open")
			return false
		}
		if err != nil {
			return false
		}
		if found(frame) {
			return true
		}
	}
}

func nothing(http2.Frame) bool { return false }

// TestSlowStreamsAreEnded is TestSlowRequestsAreEnded for HTTP/2.
func TestSlowStreamsAreEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *rest.Config) { c.RequestTimeout = soon / 3 })
	w.namespace("shop")
	_, err := w.client("alice").CoreV1().ConfigMaps("shop").Create(t.Context(), configMap("large", "k", strings.Repeat("v", 200<<10)), metav1.CreateOptions{})
	check(t, err)
	s := w.serve(func(h *http.Server) {
		h.ReadHeaderTimeout, h.ReadTimeout, h.WriteTimeout, h.IdleTimeout = soon, soon, 2*soon, soon
	})
	closed := func(stream uint32) func(http2.Frame) bool {
		return func(f http2.Frame) bool {
			switch f := f.(type) {
			case *http2.RSTStreamFrame:
				return f.StreamID == stream
			case *http2.HeadersFrame:
				return f.StreamID == stream && f.StreamEnded()
			case *http2.DataFrame:
				return f.StreamID == stream && f.StreamEnded()
			}
			return false
		}
	}
	checks := map[string]func(*testing.T){}
	for name, begin := range map[string]func(h *h2) (stream uint32, err error){
		"no request":         func(*h2) (uint32, error) { return 0, nil },
		"half a header":      func(h *h2) (uint32, error) { _, err := h.ask("GET", maps, "alice", true, false); return 0, err },
		"no body":            func(h *h2) (uint32, error) { return h.ask("POST", maps, "alice", false, true) },
		"no body of nobody":  func(h *h2) (uint32, error) { return h.ask("POST", maps, "", false, true) },
		"an answer not read": func(h *h2) (uint32, error) { return h.ask("GET", maps, "alice", true, true) },
		"a short answer not read": func(h *h2) (uint32, error) {
			return h.ask("GET", "/version", "alice", true, true)
		},
	} {
		h := s.dialH2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		stream, err := begin(h)
		check(t, err)
		checks[name] = func(t *testing.T) {
			if stream != 0 && !h.until(closed(stream)) {
				t.Error("the stream is not ended")
			}
			h.until(nothing)
		}
	}
	s.answers() // while all of them are held
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t)
		})
	}
}

// gate is an authenticator that lets one user wait.
type gate struct {
	*world
	open    chan struct{}
	waiting atomic.Int64
	most    atomic.Int64
}

func (g *gate) Authenticate(v txn.View, r *http.Request) (txn.Identity, bool, error) {
	if r.Header.Get("Test-User") == "mallory" {
		n := g.waiting.Add(1)
		for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
		}
		<-g.open
		g.waiting.Add(-1)
	}
	return g.world.Authenticate(v, r)
}

// TestRapidReset begins requests and takes them back at once, faster than they
// are answered: no more of them are in work than streams are allowed, the
// client loses its connection, and others notice nothing.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	g := &gate{open: make(chan struct{})}
	w := newWorld(t, func(c *rest.Config) { g.world = c.Authenticator.(*world); c.Authenticator = g })
	w.namespace("shop")
	s := w.serve(nil)
	h := s.dialH2(t)
	calm := make(chan bool, 1)
	go func() {
		calm <- h.until(func(f http2.Frame) bool {
			away, ok := f.(*http2.GoAwayFrame)
			return ok && away.ErrCode == http2.ErrCodeEnhanceYourCalm
		})
	}()
	for ended := false; !ended; {
		stream, err := h.ask("GET", maps, "mallory", true, true)
		if err == nil {
			// An error here means that the server has closed the connection.
			_ = h.WriteRSTStream(stream, http2.ErrCodeCancel)
		}
		select {
		case isCalm := <-calm:
			if ended = true; !isCalm {
				t.Error("the connection did not end with ENHANCE_YOUR_CALM")
			}
		default:
		}
	}
	const allowed = 250
	if most := g.most.Load(); most == 0 || most > allowed {
		t.Errorf("%d requests were in work at once", most)
	}
	s.answers()
	close(g.open)
	await(t, "nothing of it is left", func() bool { return g.waiting.Load() == 0 })
	if most := g.most.Load(); most > allowed {
		t.Errorf("%d requests were in work in the end", most)
	}
}
