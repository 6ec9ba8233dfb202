package apiserver

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/internal/pki"
)

// Authorities are the cluster's certificate authorities and keys; see package
// pki for what each is believed for.
type Authorities struct {
	API, Client, NodeServing, EtcdPeer, FrontProxy *pki.CA
	// ServiceAccounts signs service account tokens.
	ServiceAccounts crypto.Signer
	// Gossip seals membership's packets.
	Gossip []byte

	clock clock.WithTicker
}

const gossipKeySize = 32

// LoadAuthorities reads the authorities below a data directory and makes those
// that are missing in a new one.
func LoadAuthorities(dataDir string, clock clock.WithTicker) (*Authorities, error) {
	dir := filepath.Join(dataDir, "pki")
	a := &Authorities{clock: clock}
	for _, entry := range []struct {
		name string
		ca   **pki.CA
	}{
		{"api-serving", &a.API}, {"client", &a.Client}, {"node-serving", &a.NodeServing}, {"etcd-peer", &a.EtcdPeer}, {"front-proxy", &a.FrontProxy},
	} {
		ca, err := pki.LoadOrCreateCA(dir, entry.name, clock.Now())
		if err != nil {
			return nil, fmt.Errorf("authority %s: %w", entry.name, err)
		}
		*entry.ca = ca
	}
	var err error
	if a.ServiceAccounts, err = pki.LoadOrCreateKey(filepath.Join(dir, "service-accounts.key")); err != nil {
		return nil, fmt.Errorf("service account key: %w", err)
	}
	if a.Gossip, err = pki.LoadOrCreateSecret(filepath.Join(dir, "gossip.key"), gossipKeySize); err != nil {
		return nil, fmt.Errorf("gossip key: %w", err)
	}
	return a, nil
}

// serving is the TLS side of the API: its certificate, and any client
// certificate, which the authenticator verifies by its own rules.
func (a *Authorities) serving(c *Config) *tls.Config {
	certificate := pki.NewRotating(a.API, pki.Request{
		CommonName: "kubernetes", Server: true,
		DNSNames: slices.Concat([]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.ClusterDomain, "localhost"}, c.Names),
		IPs:      addresses(c.Advertise, c.Listen.Addr(), ServiceAddress(c.ServiceCIDR, APIServiceIndex), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()),
	}, a.clock)
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: certificate.Server,
		ClientAuth:     tls.RequestClientCert,
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

func addresses(all ...netip.Addr) []net.IP {
	var out []net.IP
	for _, a := range all {
		if a.IsValid() && !a.IsUnspecified() {
			out = append(out, a.AsSlice())
		}
	}
	return out
}

// UserCertificate issues a client certificate for a person or component.
func (a *Authorities) UserCertificate(name string, groups []string, lifetime time.Duration) (certPEM, keyPEM []byte, err error) {
	return a.Client.Issue(pki.Request{CommonName: name, Organizations: groups, Client: true, Lifetime: lifetime}, a.clock.Now())
}

// RecordedCertificate issues a client certificate for a person that is believed
// only while its record, to be stored by the caller, is there.
func (a *Authorities) RecordedCertificate(name string, groups []string, lifetime time.Duration, by string) (certPEM, keyPEM []byte, record *corev1.Secret, err error) {
	now := a.clock.Now()
	certPEM, keyPEM, err = a.Client.Issue(pki.Request{CommonName: name, Organizations: groups, Client: true, Lifetime: lifetime, URIs: []*url.URL{authn.Recorded()}}, now)
	if err != nil {
		return nil, nil, nil, err
	}
	certificate, err := pki.ParseCertificate(certPEM)
	if err != nil {
		return nil, nil, nil, err
	}
	record, err = authn.NewUserCertificate(certificate, by, now).Object()
	return certPEM, keyPEM, record, err
}

// ToNodes is how the API server talks to agents: it believes the node-serving
// authority only, and shows its own client certificate.
func (a *Authorities) ToNodes() *tls.Config {
	certificate := pki.NewRotating(a.Client, pki.Request{CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}, Client: true}, a.clock)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.NodeServing.Pool(), GetClientCertificate: certificate.Client}
}

// BetweenNodes is how a node asks other nodes: it believes the node-serving
// authority only, and shows the node's client certificate.
func (a *Authorities) BetweenNodes(node string) *tls.Config {
	certificate := pki.NewRotating(a.Client, pki.Request{CommonName: "system:node:" + node, Organizations: []string{"system:nodes"}, Client: true}, a.clock)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.NodeServing.Pool(), GetClientCertificate: certificate.Client}
}

// NodeServingPool is what an agent's serving certificate must come from.
func (a *Authorities) NodeServingPool() *x509.CertPool { return a.NodeServing.Pool() }

// NodeCertificate is a node's serving certificate, kept young.
func (a *Authorities) NodeCertificate(node string, address netip.Addr) (*pki.Rotating, error) {
	if node == "" || !address.IsValid() {
		return nil, fmt.Errorf("a node's certificate needs its name and address, not %q and %s", node, address)
	}
	return pki.NewRotating(a.NodeServing, pki.Request{CommonName: "system:node:" + node, Organizations: []string{"system:nodes"}, Server: true, DNSNames: []string{node}, IPs: addresses(address)}, a.clock), nil
}
