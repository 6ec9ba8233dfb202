package apiserver

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"time"

	"github.com/headway-sh/headway/apiserver/etcd"
	"github.com/headway-sh/headway/internal/pki"
)

// peerCertificate is what this server's etcd member shows to the others. etcd
// wants it in files, which it reads again for every connection.
type peerCertificate struct {
	authorities *Authorities
	files       etcd.PeerTLS
	request     pki.Request
}

// peerLifetime is how long a member's certificate is valid.
const peerLifetime = 365 * 24 * time.Hour

func newPeerCertificate(a *Authorities, dataDir, name, address string) (*peerCertificate, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("etcd peer URL: %w", err)
	}
	dir := filepath.Join(dataDir, "pki")
	p := &peerCertificate{authorities: a,
		files: etcd.PeerTLS{CertFile: filepath.Join(dir, "etcd-member.crt"), KeyFile: filepath.Join(dir, "etcd-member.key"), CAFile: filepath.Join(dir, "etcd-members.crt")},
		// Members check each other as clients too.
		request: pki.Request{CommonName: name, Server: true, Client: true, Lifetime: peerLifetime},
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		p.request.IPs = []net.IP{ip}
	} else {
		p.request.DNSNames = []string{u.Hostname()}
	}
	return p, p.issue()
}

// issue writes the files anew.
func (p *peerCertificate) issue() error {
	cert, key, err := p.authorities.EtcdPeer.Issue(p.request, p.authorities.clock.Now())
	if err != nil {
		return fmt.Errorf("certificate of the etcd member: %w", err)
	}
	for _, f := range []struct {
		path    string
		content []byte
	}{{p.files.KeyFile, key}, {p.files.CertFile, cert}, {p.files.CAFile, p.authorities.EtcdPeer.PEM}} {
		if err := pki.WriteFile(f.path, f.content, 0o600); err != nil {
			return fmt.Errorf("certificate of the etcd member: %w", err)
		}
	}
	return nil
}

// Run renews the certificate when a third of its life is left.
func (p *peerCertificate) Run(ctx context.Context) error {
	ticker := p.authorities.clock.NewTicker(peerLifetime * 2 / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := p.issue(); err != nil {
				return err
			}
		}
	}
}
