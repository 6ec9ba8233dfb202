package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/headway-sh/headway/api/txn"
)

// bonds are the requests that last as long as their clients want and that were
// made with recorded certificates, by the names of the records. Beginning and
// ending one costs the same whatever number there is.
type bonds struct {
	mu   sync.Mutex // guards open
	open map[string]map[*bond]struct{}
}

// bond is one of them.
type bond struct {
	certificate *x509.Certificate
	end         context.CancelFunc
}

// Bind ties a request that lasts, and that Authenticate has found to be id's, to
// the certificate that it was believed for: the context ends when the record is
// gone, or one is there that takes it back. release must be called when the request is over. What has no record
// cannot be taken back, and binds nothing.
func (a *Authenticator) Bind(view func() txn.View, r *http.Request, id txn.Identity) (ctx context.Context, release func(), err error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || recordOf(r.TLS.PeerCertificates[0]) == "" {
		return r.Context(), func() {}, nil
	}
	certificate := r.TLS.PeerCertificates[0]
	if !slices.Contains(id.Extra[credentialID], credentialOf(sha256.Sum256(certificate.Raw))) {
		return r.Context(), func() {}, nil // a token was believed, and the certificate not looked at
	}
	ctx, end := context.WithCancel(r.Context())
	b := &bond{certificate: certificate, end: end}
	release = a.bonds.add(b)
	// Only now: what is removed after this look finds the bond.
	if err := believed(view(), b.certificate); err != nil {
		release()
		return nil, nil, err
	}
	return ctx, release, nil
}

// Unbind ends the requests that are bound to certificates that a View does not
// believe any more: to the one with the record's name, or to any when the
// name is empty.
func (a *Authenticator) Unbind(view txn.View, record string) {
	for _, b := range a.bonds.of(record) {
		if believed(view, b.certificate) != nil {
			b.end()
		}
	}
}

func (o *bonds) add(b *bond) (release func()) {
	name := recordOf(b.certificate)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == nil {
		o.open = map[string]map[*bond]struct{}{}
	}
	if o.open[name] == nil {
		o.open[name] = map[*bond]struct{}{}
	}
	o.open[name][b] = struct{}{}
	return func() {
		b.end()
		o.mu.Lock()
		defer o.mu.Unlock()
		if delete(o.open[name], b); len(o.open[name]) == 0 {
			delete(o.open, name)
		}
	}
}

// of gives the bonds of one record, or all of them.
func (o *bonds) of(record string) []*bond {
	o.mu.Lock()
	defer o.mu.Unlock()
	if record != "" {
		return slices.Collect(maps.Keys(o.open[record]))
	}
	var all []*bond
	for _, some := range o.open {
		all = slices.AppendSeq(all, maps.Keys(some))
	}
	return all
}
