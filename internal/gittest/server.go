package gittest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Token is the password that the server takes over https, with any user name,
// and as a bearer token.
const Token = "sesame"

// Fault decides what becomes of a request over https; next is git itself. It
// must return when the request's context ends.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Server serves the repositories below a directory.
type Server struct {
	// CA is the PEM of the authority that the https server is believed by.
	CA []byte
	// KnownHosts names the ssh server, Identity is the private key that it
	// takes.
	KnownHosts, Identity []byte

	root    string
	https   *httptest.Server
	ssh     *sshServer
	backend http.Handler

	mu    sync.Mutex // guards all below
	fault Fault
	seen  []Request
	sent  int64
	// clients are who may connect over https; nil: everybody.
	clients *x509.CertPool
}

// Request is one that came in over https.
type Request struct {
	Path string
	// Authorization is the header of that name.
	Authorization string
	// Protocol is the version of git's protocol that was asked for.
	Protocol string
	// Service is whose references were asked for: git-upload-pack by who
	// fetches, git-receive-pack by who pushes.
	Service string
}

// New serves the repositories below root until the test ends.
func New(t testing.TB, root string) *Server {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatalf("git --exec-path: %v", err)
	}
	s := &Server{root: root, backend: &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env:  append(environment(root), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=jane"), Stderr: io.Discard,
	}}
	s.https = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.https.TLS = &tls.Config{GetConfigForClient: s.handshake}
	s.https.StartTLS()
	s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.https.Certificate().Raw})
	t.Cleanup(s.https.Close)
	s.ssh = newSSHServer(t, root)
	s.KnownHosts, s.Identity = s.ssh.knownHosts, s.ssh.identity
	return s
}

// environment is git's, untouched by the machine's configuration.
func environment(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*", "GIT_CONFIG_KEY_1=http.receivepack", "GIT_CONFIG_VALUE_1=true"}
}

// HTTPS is the URL of a repository, such as "cluster.git".
func (s *Server) HTTPS(name string) string { return s.https.URL + "/" + name }

// SSH is the same over ssh.
func (s *Server) SSH(name string) string { return "ssh://git@" + s.ssh.address + "/" + name }

// Break has every https request that is let in go through a fault from now on;
// nil mends the server.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// BreakSSH has every ssh command answered by f instead of git, until it is nil
// again. f must return when the context ends, which it does with the
// connection.
func (s *Server) BreakSSH(f func(ctx context.Context, channel Channel)) { s.ssh.set(f) }

// Old has the server speak version 0 of git's protocol only, over https and ssh.
func (s *Server) Old() { s.ssh.old.Store(true) }

// Sent is how many bytes were answered over https since the last call.
func (s *Server) Sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = 0
	return sent
}

// counted counts the bytes of answers.
type counted struct {
	http.ResponseWriter
	server *Server
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.server.mu.Lock()
	c.server.sent += int64(n)
	c.server.mu.Unlock()
	return n, err
}

// Unwrap lets faults flush.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Flush is http.Flusher's.
func (c *counted) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// Requests are those that came over https since the last call.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.fault
	s.seen = append(s.seen, Request{Path: r.URL.Path, Authorization: r.Header.Get("Authorization"), Protocol: r.Header.Get("Git-Protocol"), Service: r.URL.Query().Get("service")})
	s.mu.Unlock()
	w = &counted{w, s}
	if s.ssh.old.Load() {
		r.Header.Del("Git-Protocol")
	}
	_, password, _ := r.BasicAuth()
	switch {
	case password != Token && r.Header.Get("Authorization") != "Bearer "+Token:
		http.Error(w, "who are you", http.StatusUnauthorized)
	case fault != nil:
		fault(w, r, s.backend)
	default:
		s.backend.ServeHTTP(w, r)
	}
}
