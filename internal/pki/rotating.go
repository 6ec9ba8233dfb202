package pki

import (
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Rotating is a certificate that is issued again before it expires. It is made
// on first use and when a handshake finds it old: nothing runs in between.
type Rotating struct {
	ca    *CA
	req   Request
	clock clock.PassiveClock

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	renewAt time.Time
}

// NewRotating returns a certificate of the authority for the request.
func NewRotating(ca *CA, req Request, clock clock.PassiveClock) *Rotating {
	return &Rotating{ca: ca, req: req, clock: clock}
}

// Get returns a certificate with at least a third of its life left.
func (r *Rotating) Get() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if r.current != nil && now.Before(r.renewAt) {
		return r.current, nil
	}
	certPEM, keyPEM, err := r.ca.Issue(r.req, now)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %q: %w", r.req.CommonName, err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	if r.req.Server {
		// With the authority, so that a client that knows only its hash finds it.
		pair.Certificate = append(pair.Certificate, r.ca.Certificate.Raw)
	}
	life := pair.Leaf.NotAfter.Sub(now)
	r.current, r.renewAt = &pair, now.Add(life*2/3)
	return r.current, nil
}

// Server is for tls.Config.GetCertificate.
func (r *Rotating) Server(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.Get() }

// Client is for tls.Config.GetClientCertificate.
func (r *Rotating) Client(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return r.Get() }
