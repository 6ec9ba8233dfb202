package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/asn1"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/txn"
)

// Names of users and groups that Kubernetes gives a meaning.
const (
	Anonymous            = "system:anonymous"
	GroupUnauthenticated = "system:unauthenticated"
	GroupAuthenticated   = "system:authenticated"
	GroupMasters         = "system:masters"
	GroupNodes           = "system:nodes"
	GroupBootstrappers   = "system:bootstrappers"
	GroupServiceAccounts = "system:serviceaccounts"
	// GroupJoin is what the server's own join tokens belong to.
	GroupJoin = "system:bootstrappers:headway:default-node-token"

	// credentialID is the extra field that tells one credential of a user from
	// another.
	credentialID = "authentication.kubernetes.io/credential-id"

	userServiceAccount = "system:serviceaccount:"
	userBootstrap      = "system:bootstrap:"
)

// ErrUnauthenticated is the text of every refusal towards the client; the
// reason is for the server's log only.
var ErrUnauthenticated = errors.New("Unauthorized")

// Config says which credentials are believed.
type Config struct {
	// Clients issues client certificates.
	Clients *x509.CertPool
	// FrontProxy issues certificates of proxies that may assert another user
	// through X-Remote-*; nil: nobody may. FrontProxyNames are the common names
	// allowed; empty: all of that authority.
	FrontProxy      *x509.CertPool
	FrontProxyNames []string
	// ServiceAccounts verifies their tokens.
	ServiceAccounts *ServiceAccountTokens
	// Issuers are others whose tokens are believed; nil: there are none.
	Issuers Issuers
	// Audiences are the API server's own, for which a token must be meant.
	Audiences []string
	Clock     clock.PassiveClock
}

// Issuers believe tokens that the cluster has not issued.
type Issuers interface {
	// Token tells whose a token is; false when none of them has issued it. It
	// may ask over the network for keys, and is called concurrently.
	Token(ctx context.Context, token string) (txn.Identity, bool, error)
}

// Authenticator identifies requests. It is safe for concurrent use.
type Authenticator struct {
	config   Config
	verified verified
	bonds    bonds
}

// New returns an Authenticator.
func New(config Config) *Authenticator { return &Authenticator{config: config} }

// Authenticate returns who asks. ok is false, with the anonymous identity, when
// the request carries no credential at all.
func (a *Authenticator) Authenticate(view txn.View, r *http.Request) (id txn.Identity, ok bool, err error) {
	defer func() {
		id.Address, id.UserAgent = peer(r), r.UserAgent()
		if ok && !slices.Contains(id.Groups, GroupAuthenticated) {
			id.Groups = append(slices.Clip(id.Groups), GroupAuthenticated)
		}
	}()
	if id, ok, err := a.proxied(r); ok || err != nil {
		return id, ok, err
	}
	if token, present, err := bearer(r); present {
		if err == nil {
			id, _, err = a.Token(r.Context(), view, token, nil)
		}
		return id, err == nil, err
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		id, err := a.certificate(r.TLS.PeerCertificates, a.config.Clients)
		if err == nil {
			err = believed(view, r.TLS.PeerCertificates[0])
		}
		return id, err == nil, err
	}
	return txn.Identity{Name: Anonymous, Groups: []string{GroupUnauthenticated}}, false, nil
}

// Token identifies a bearer token, which must be meant for one of the
// audiences (nil: the API server's own). It also tells for which of them.
func (a *Authenticator) Token(ctx context.Context, view txn.View, token string, audiences []string) (txn.Identity, []string, error) {
	if len(audiences) == 0 {
		audiences = a.config.Audiences
	}
	id, meant, err := a.token(ctx, view, token, audiences)
	if err != nil {
		return txn.Identity{}, nil, err
	}
	if !slices.Contains(id.Groups, GroupAuthenticated) {
		id.Groups = append(slices.Clip(id.Groups), GroupAuthenticated)
	}
	return id, meant, nil
}

func (a *Authenticator) token(ctx context.Context, view txn.View, token string, audiences []string) (txn.Identity, []string, error) {
	if id, secret, ok := splitJoinToken(token); ok {
		meant, err := a.own(audiences)
		if err != nil {
			return txn.Identity{}, nil, err
		}
		identity, err := joinToken(view, id, secret, a.config.Clock.Now())
		return identity, meant, err
	}
	if a.config.Issuers != nil && (a.config.ServiceAccounts == nil || !a.config.ServiceAccounts.Issued(token)) {
		return a.foreign(ctx, token, audiences)
	}
	if a.config.ServiceAccounts == nil {
		return txn.Identity{}, nil, errors.New("no token of this form is accepted")
	}
	return a.config.ServiceAccounts.Verify(view, token, audiences)
}

// foreign identifies a token of another issuer. Which audiences its tokens
// must have is the issuer's configuration; they are for the API server.
func (a *Authenticator) foreign(ctx context.Context, token string, audiences []string) (txn.Identity, []string, error) {
	meant, err := a.own(audiences)
	if err != nil {
		return txn.Identity{}, nil, err
	}
	id, ok, err := a.config.Issuers.Token(ctx, token)
	if err == nil && !ok {
		err = errors.New("the token is of no issuer that is believed")
	}
	return id, meant, err
}

// own are the API server's audiences among those given: what tokens that name
// no audience of the cluster are meant for.
func (a *Authenticator) own(audiences []string) ([]string, error) {
	if meant := common(audiences, a.config.Audiences); len(meant) > 0 || len(audiences) == 0 {
		return meant, nil
	}
	return nil, errOtherAudience
}

// errOtherAudience says that a token is good, but not for who asks.
var errOtherAudience = errors.New("the token is meant for another audience")

// common are the members of a that b has too, in a's order.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// proxied accepts X-Remote-User from who proves to be a front proxy.
func (a *Authenticator) proxied(r *http.Request) (txn.Identity, bool, error) {
	name := r.Header.Get("X-Remote-User")
	if name == "" || a.config.FrontProxy == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return txn.Identity{}, false, nil
	}
	proxy, err := a.certificate(r.TLS.PeerCertificates, a.config.FrontProxy)
	if err != nil {
		return txn.Identity{}, false, nil // not a proxy: its own certificate decides
	}
	if len(a.config.FrontProxyNames) > 0 && !slices.Contains(a.config.FrontProxyNames, proxy.Name) {
		return txn.Identity{}, false, fmt.Errorf("front proxy %q is not allowed to assert users", proxy.Name)
	}
	id := txn.Identity{Name: name, UID: r.Header.Get("X-Remote-Uid"), Groups: slices.Clone(r.Header.Values("X-Remote-Group"))}
	id.Extra = ExtraHeaders(r.Header, "X-Remote-Extra-")
	return id, true, nil
}

// ExtraHeaders are the extra fields of an identity as the headers with the
// prefix say them; nil when there are none. Names of headers have no case and
// not every character: keys are in lower case, and what follows is escaped.
func ExtraHeaders(header http.Header, prefix string) map[string][]string {
	var extra map[string][]string
	for name, values := range header {
		key, ok := strings.CutPrefix(name, prefix)
		if !ok || len(values) == 0 {
			continue
		}
		key = strings.ToLower(key)
		if unescaped, err := url.PathUnescape(key); err == nil {
			key = unescaped
		}
		if extra == nil {
			extra = map[string][]string{}
		}
		extra[key] = append(extra[key], values...)
	}
	return extra
}

// certificate verifies the chain for client use and reads the user from it.
func (a *Authenticator) certificate(chain []*x509.Certificate, roots *x509.CertPool) (txn.Identity, error) {
	leaf, err := a.verify(chain, roots)
	if err != nil {
		return txn.Identity{}, fmt.Errorf("client certificate of %q: %w", chain[0].Subject.CommonName, err)
	}
	if chain[0].Subject.CommonName == "" {
		return txn.Identity{}, errors.New("client certificate has no common name")
	}
	uid, err := uidOf(chain[0])
	if err != nil {
		return txn.Identity{}, fmt.Errorf("client certificate of %q: %w", chain[0].Subject.CommonName, err)
	}
	return txn.Identity{Name: chain[0].Subject.CommonName, UID: uid, Groups: slices.Clone(chain[0].Subject.Organization),
		Extra: map[string][]string{credentialID: {credentialOf(leaf.sum)}}}, nil
}

// credentialOf tells one certificate from another by its fingerprint.
func credentialOf(sum [sha256.Size]byte) string { return "X509SHA256=" + hex.EncodeToString(sum[:]) }

// uidOID is the part of a subject that is the user's UID in Kubernetes.
var uidOID = asn1.X509UID()

// uidOf is the UID that a certificate gives its user; empty: none.
func uidOf(c *x509.Certificate) (uid string, err error) {
	found := false
	for _, name := range c.Subject.Names {
		if !name.Type.Equal(uidOID) {
			continue
		}
		text, ok := name.Value.(string)
		if !ok || text == "" || found {
			return "", errors.New("the UID in its subject is not one text")
		}
		uid, found = text, true
	}
	return uid, nil
}

// verify follows a chain up to the roots, once for each certificate.
func (a *Authenticator) verify(chain []*x509.Certificate, roots *x509.CertPool) (leaf, error) {
	now, l := a.config.Clock.Now(), leafOf(chain[0], roots)
	if a.verified.has(l, now) {
		return l, nil
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CurrentTime:   now,
	})
	if err != nil {
		return l, err
	}
	a.verified.add(l, windowOf(chains))
	return l, nil
}

func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
