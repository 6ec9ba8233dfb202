package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/internal/pki"
)

const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// errNoCertificate is what a handshake gets before there is a certificate.
var errNoCertificate = errors.New("the node's certificate has not been signed yet")

// signFunc has a certificate request (PEM) signed and returns the certificate
// with its chain as PEM. It may take long.
type signFunc func(ctx context.Context, request []byte) ([]byte, error)

// certificate is a key and certificate in one file that are renewed by request
// before they expire.
type certificate struct {
	// path of the file; key and certificate are in one so that a rename
	// replaces both.
	path    string
	request x509.CertificateRequest
	sign    signFunc
	// renewed is called when a new one is in use; may be nil.
	renewed func()
	clock   clock.Clock
	logger  *slog.Logger

	mu      sync.Mutex // guards current
	current *tls.Certificate
}

// load reads the file. A missing one, or one that says something else than
// wanted, leaves the certificate empty; a damaged one is an error.
func (c *certificate) load() error {
	text, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("read %s: %w; remove it to have a new one signed", c.path, err)
	}
	if c.matches(pair.Leaf) && c.clock.Now().Before(pair.Leaf.NotAfter) {
		c.set(&pair)
	}
	return nil
}

// matches tells whether a certificate says what the request asks for.
func (c *certificate) matches(leaf *x509.Certificate) bool {
	return leaf.Subject.CommonName == c.request.Subject.CommonName &&
		slices.Equal(leaf.DNSNames, c.request.DNSNames) &&
		slices.EqualFunc(leaf.IPAddresses, c.request.IPAddresses, net.IP.Equal)
}

func (c *certificate) set(pair *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = pair
}

// get gives what there is to show now.
func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return nil, errNoCertificate
	}
	return c.current, nil
}

// renewIn is how long the certificate is good as it is: two thirds of its life.
func (c *certificate) renewIn() time.Duration {
	pair, err := c.get()
	if err != nil {
		return 0
	}
	life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	return pair.Leaf.NotBefore.Add(life * 2 / 3).Sub(c.clock.Now())
}

// renew makes a key, has it signed, and keeps both.
func (c *certificate) renew(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &c.request, key)
	if err != nil {
		return fmt.Errorf("make certificate request: %w", err)
	}
	chain, err := c.sign(ctx, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), chain...)
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("the signed certificate is not for this key: %w", err)
	}
	if !c.matches(pair.Leaf) {
		return fmt.Errorf("the signed certificate is for %q, not for what was asked", pair.Leaf.Subject)
	}
	if err := pki.WriteFile(c.path, text, 0o600); err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	c.set(&pair)
	if c.renewed != nil {
		c.renewed()
	}
	return nil
}

// run renews until ctx ends.
func (c *certificate) run(ctx context.Context) {
	retry := firstRetry
	wait := c.renewIn()
	for {
		timer := c.clock.NewTimer(max(wait, 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		if err := c.renew(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			c.logger.Warn("certificate not renewed; trying again", "certificate", c.path, "in", retry, "error", err)
			wait, retry = retry, min(2*retry, lastRetry)
			continue
		}
		wait, retry = c.renewIn(), firstRetry
	}
}
