package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/internal/pki"
)

const (
	// contactPatience bounds one exchange with a server.
	contactPatience = 10 * time.Second
	maxAnswer       = 1 << 20
)

// ErrRefused is what a server's refusal to join is; trying again is useless.
var ErrRefused = errors.New("the server refuses")

// endpoint is a server's HOST:PORT from its URL.
func endpoint(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("server address: %w", err)
	}
	if u.Scheme != "https" || u.Hostname() == "" {
		return "", fmt.Errorf("server address %q is not https://HOST[:PORT]", server)
	}
	port := u.Port()
	if port == "" {
		port = "6443"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// Authority asks the server for the API's authority, which it presents behind
// its own certificate, and believes it only by the hash. It gives the
// authority as PEM.
func Authority(ctx context.Context, server, hash string, clock clock.PassiveClock) ([]byte, error) {
	address, err := endpoint(server)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, contactPatience)
	defer cancel()
	var found *x509.Certificate
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: ServerName, Time: clock.Now,
		// The authority is not known yet: VerifyConnection decides by the hash.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			found, err = pinned(state.PeerCertificates, hash, clock.Now())
			return err
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server, err)
	}
	_ = conn.Close() // the handshake was all
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: found.Raw}), nil
}

// errPin says that somebody else's server answers.
var errPin = errors.New("its certificate authority is not the one that the join token names: this is another cluster, or somebody in between")

// pinned finds the authority with the hash in a presented chain and verifies
// the chain's first certificate by it alone.
func pinned(chain []*x509.Certificate, hash string, now time.Time) (*x509.Certificate, error) {
	for _, c := range chain {
		if !c.IsCA || pki.Hash(c) != hash {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: ServerName, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if err != nil {
			return nil, fmt.Errorf("%w (%w)", errPin, err)
		}
		return c, nil
	}
	return nil, errPin
}

// ask POSTs a Request.
func ask(ctx context.Context, c *http.Client, server, bearer string, request Request) (*Answer, error) {
	address, err := endpoint(server)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, contactPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := c.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s to join: %w", server, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask %s to join: %w", server, err)
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict:
		return nil, fmt.Errorf("ask %s to join: %w: %s", server, ErrRefused, strings.TrimSpace(string(text)))
	default:
		return nil, fmt.Errorf("ask %s to join: it answers %s: %s", server, response.Status, strings.TrimSpace(string(text)))
	}
	answer := &Answer{}
	if err := json.Unmarshal(text, answer); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", server, err)
	}
	if err := answer.validate(); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", server, err)
	}
	return answer, nil
}
