package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	clientrest "k8s.io/client-go/rest"

	"github.com/headway-sh/headway/test/bench/rig"
)

// server is the binary running with nothing but the API.
type server struct {
	*rig.Process
	url string
	tls *tls.Config
}

// start runs the binary until it is ready, with a directory of the given name.
func (b *bench) start(ctx context.Context, name string) (*server, error) {
	p, err := rig.Start(ctx, b.binary, filepath.Join(b.dir, name), b.verbose, "--disable", "scheduler,reconciler,gitsource,agent")
	if err != nil {
		return nil, err
	}
	s := &server{Process: p, url: p.Config.Host}
	if s.tls, err = clientrest.TLSConfigFor(p.Config); err != nil {
		return nil, errors.Join(err, p.End())
	}
	return s, nil
}

// client makes a client with a connection of its own.
func (s *server) client() *http.Client { return newClient(s.tls) }

func newClient(config *tls.Config) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), Protocols: protocols, MaxIdleConns: 1,
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}}
}

// request is one request to the server.
type request struct {
	method, path string
	media        string // of the body and the answer; JSON when empty
	body         []byte
}

const (
	mediaJSON     = "application/json"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"
)

// open sends a request and gives the answer if it is a good one.
func (s *server) open(ctx context.Context, c *http.Client, r request) (*http.Response, error) {
	if r.method == "" {
		r.method = http.MethodGet
	}
	if r.media == "" {
		r.media = mediaJSON
	}
	var body io.Reader
	if r.body != nil {
		body = strings.NewReader(string(r.body))
	}
	req, err := http.NewRequestWithContext(ctx, r.method, s.url+r.path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", r.media)
	// What is measured is the answer itself.
	req.Header.Set("Accept-Encoding", "identity")
	if r.body != nil {
		req.Header.Set("Content-Type", r.media)
	}
	answer, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096)) // the code is the error
		return nil, errors.Join(fmt.Errorf("%s %s: %s: %s", r.method, r.path, answer.Status, text), answer.Body.Close())
	}
	return answer, nil
}

// do sends a request and reads all of the answer.
func (s *server) do(ctx context.Context, c *http.Client, r request) ([]byte, error) {
	answer, err := s.open(ctx, c, r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(answer.Body)
	return b, errors.Join(err, answer.Body.Close())
}
