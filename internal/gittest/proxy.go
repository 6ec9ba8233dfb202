package gittest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
)

// Proxy is an http proxy on loopback that lets TLS through to one server,
// whatever host is asked for.
type Proxy struct {
	// URL names a user and a password, without which nothing is let through.
	URL string

	to string // address

	mu   sync.Mutex // guards seen
	seen []*http.Request
}

// ProxyPassword is the proxy's.
const ProxyPassword = "proxy-sesame"

// NewProxy makes one in front of a server, until the test ends.
func (s *Server) NewProxy(t testing.TB) *Proxy {
	t.Helper()
	p := &Proxy{to: s.https.Listener.Addr().String()}
	server := httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	at.User = url.UserPassword("jane", ProxyPassword)
	p.URL = at.String()
	return p
}

// Requests are those that came since the last call.
func (p *Proxy) Requests() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r)
	p.mu.Unlock()
	asked := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	if _, password, _ := asked.BasicAuth(); password != ProxyPassword {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	if r.Method != http.MethodConnect {
		http.Error(w, "only TLS is let through", http.StatusBadRequest)
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		http.Error(w, "away", http.StatusBadGateway)
		return
	}
	defer server.Close()
	// Before the client may speak: what is read ahead of a hijack is lost.
	client, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, client) // ends with the client
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
	_ = client.Close()
	both.Wait()
}
