package pki_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/internal/pki"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newCA(t *testing.T, name string) *pki.CA {
	t.Helper()
	ca, err := pki.LoadOrCreateCA(t.TempDir(), name, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestAuthorityIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := pki.LoadOrCreateCA(dir, "client", now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := pki.LoadOrCreateCA(dir, "client", now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if first.Hash() != second.Hash() {
		t.Error("the authority changed on the second start")
	}
	info, err := os.Stat(filepath.Join(dir, "client.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, mode %v, want 0600", err, info.Mode())
	}
	if err := os.Remove(filepath.Join(dir, "client.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadOrCreateCA(dir, "client", now); err == nil {
		t.Error("a lost key was replaced silently")
	}
}

func TestIssuedCertificateServesItsPurposeOnly(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, "client"), newCA(t, "other")
	certPEM, _, err := ca.Issue(pki.Request{CommonName: "jane", Organizations: []string{"dev"}, Client: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ca    *pki.CA
		usage x509.ExtKeyUsage
		at    time.Time
		want  bool
	}{
		"as client":        {ca, x509.ExtKeyUsageClientAuth, now, true},
		"as server":        {ca, x509.ExtKeyUsageServerAuth, now, false},
		"other authority":  {other, x509.ExtKeyUsageClientAuth, now, false},
		"after its end":    {ca, x509.ExtKeyUsageClientAuth, now.Add(pki.CertificateLifetime + time.Second), false},
		"a skewed machine": {ca, x509.ExtKeyUsageClientAuth, now.Add(-time.Minute), true},
	} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: c.ca.Pool(), KeyUsages: []x509.ExtKeyUsage{c.usage}, CurrentTime: c.at})
		if (err == nil) != c.want {
			t.Errorf("%s: %v, want ok %v", name, err, c.want)
		}
	}
}

func TestRotatingRenewsBeforeExpiry(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakePassiveClock(now)
	r := pki.NewRotating(newCA(t, "api"), pki.Request{CommonName: "x", Server: true, Lifetime: 9 * time.Hour}, clock)
	first, err := r.Get()
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(now.Add(5 * time.Hour))
	same, err := r.Get()
	if err != nil || same != first {
		t.Fatalf("renewed too early (%v)", err)
	}
	clock.SetTime(now.Add(7 * time.Hour))
	next, err := r.Get()
	if err != nil || next == first {
		t.Fatalf("not renewed with less than a third left (%v)", err)
	}
}

func TestSecretLengthIsChecked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gossip.key")
	a, err := pki.LoadOrCreateSecret(path, 32)
	if err != nil || len(a) != 32 {
		t.Fatalf("%d bytes, %v", len(a), err)
	}
	if err := os.WriteFile(path, a[:5], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadOrCreateSecret(path, 32); err == nil {
		t.Error("a truncated secret was accepted")
	}
}
