package repo

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

const (
	dialTimeout = 10 * time.Second
	// maxMessage is how much of an answer that is an error is read.
	maxMessage = 4 << 10
	// maxQuiet is the longest that a remote is left alone because it says so.
	maxQuiet = time.Hour
)

// httpsTalk is a conversation over https.
type httpsTalk struct {
	receive transport.ReceivePackSession
	upload  *uploadTalk
}

func (m *Remote) overHTTPS(ep *transport.Endpoint, service string, limits Limits) (conversation, error) {
	client, err := m.httpClient(limits)
	if err != nil {
		return nil, err
	}
	var auth githttp.AuthMethod
	switch {
	case m.BearerToken != "":
		auth = &githttp.TokenAuth{Token: m.BearerToken}
	case m.Token != "":
		// The forges take a token as a password, with any name or the one that
		// belongs to it; as a bearer token few do.
		auth = &githttp.BasicAuth{Username: cmp.Or(m.Username, "git"), Password: m.Token}
	case m.Username != "" || m.Password != "":
		auth = &githttp.BasicAuth{Username: m.Username, Password: m.Password}
	}
	if service != transport.ReceivePackServiceName {
		return &httpsTalk{upload: &uploadTalk{client: client, auth: auth, base: ep.String(), limits: limits}}, nil
	}
	receive, err := githttp.NewClient(client).NewReceivePackSession(ep, auth)
	return &httpsTalk{receive: receive}, err
}

func (t *httpsTalk) refs(ctx context.Context, prefixes []string) (*packp.AdvRefs, error) {
	if t.receive != nil {
		return t.receive.AdvertisedReferencesContext(ctx)
	}
	return t.upload.refs(ctx, prefixes)
}

func (t *httpsTalk) fetch(ctx context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error) {
	return t.upload.fetch(ctx, request)
}

func (t *httpsTalk) push(ctx context.Context, request *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	return t.receive.ReceivePack(ctx, request)
}

func (t *httpsTalk) close() {
	if t.receive != nil {
		_ = t.receive.Close() // holds nothing
	}
}

// httpClient talks to the remote's host only, with its own roots when it is
// given some, and takes no more than the limits allow.
func (m *Remote) httpClient(limits Limits) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(m.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(m.CABundle) {
			return nil, errors.New("the certificate authority is not PEM")
		}
	}
	if len(m.ClientCert) > 0 || len(m.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(m.ClientCert, m.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	through, err := m.proxy()
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if through != nil {
		if through.Scheme == "https" && len(config.Certificates) > 0 {
			return nil, errors.New("a proxy that is spoken to by TLS could ask for the client certificate: name it with http://")
		}
		proxy = func(req *http.Request) (*url.URL, error) {
			if m.direct(req.URL.Host) {
				return nil, nil
			}
			return through, nil
		}
	}
	return &http.Client{
		Transport: &capped{limits: limits, next: &http.Transport{
			Proxy: proxy, TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true,
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: limits.Stall,
		}},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 || req.URL.Scheme != "https" || req.URL.Host != via[0].URL.Host {
				return fmt.Errorf("redirected to %s: only redirects on the same host are followed", req.URL.Host)
			}
			return nil
		},
	}, nil
}

// capped bounds the bytes of every answer and how long it may stall.
type capped struct {
	next   http.RoundTripper
	limits Limits
}

func (c *capped) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	res, err := c.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(err)
		return nil, err
	}
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable {
		_ = res.Body.Close() // its words would add nothing
		cancel(nil)
		return nil, &LaterError{Status: res.Status, After: quiet(res.Header.Get("Retry-After"), time.Now())}
	}
	limit := c.limits.PackBytes
	switch {
	case res.StatusCode < 200 || res.StatusCode > 299:
		res.Body = &brief{Reader: io.LimitReader(res.Body, maxMessage), Closer: res.Body}
	case strings.HasSuffix(req.URL.Path, "/info/refs"):
		limit = c.limits.RefBytes
	}
	stall := time.AfterFunc(c.limits.Stall, func() { cancel(ErrStalled) })
	res.Body = &cappedBody{ReadCloser: res.Body, limit: limit, left: limit, patience: c.limits.Stall, stall: stall, cancel: cancel, ctx: ctx}
	return res, nil
}

// brief is the beginning of a body.
type brief struct {
	io.Reader
	io.Closer
}

// quiet reads a Retry-After header: seconds or a date.
func quiet(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, maxQuiet)
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return min(at.Sub(now), maxQuiet)
	}
	return 0
}

type cappedBody struct {
	io.ReadCloser
	limit, left int64
	patience    time.Duration
	stall       *time.Timer
	cancel      context.CancelCauseFunc
	ctx         context.Context // of the one answer that this is the body of
}

func (b *cappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.stall.Reset(b.patience)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the remote's answer is over %d bytes: %w", b.limit, ErrTooLarge)
	}
	// A server that sees the stall's end may end its answer in good order.
	if cause := context.Cause(b.ctx); err != nil && cause != nil && (err != io.EOF || errors.Is(cause, ErrStalled)) {
		err = cause
	}
	return n, err
}

func (b *cappedBody) Close() error {
	b.stall.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}
