package authn_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authn"
)

// TestBondEndsWithTheRecord: a request is bound to the certificate that it was
// believed for, and to nothing else.
func TestBondEndsWithTheRecord(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "client")
	a := authn.New(authn.Config{Clients: ca.Pool(), Clock: clocktesting.NewFakePassiveClock(now)})
	// request is one with a certificate, and whose it is by the View.
	request := func(serial int64, uris ...*url.URL) (*http.Request, *x509.Certificate) {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "ada"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: uris}, ca.Certificate, newKey(t).Public(), ca.Key)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/api/v1/pods?watch=1", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}
		return r, certificate
	}
	r, certificate := request(1, authn.Recorded())
	record, err := authn.NewUserCertificate(certificate, "root", now).Object()
	if err != nil {
		t.Fatal(err)
	}
	with, without := view(record), txn.View(txn.Empty{})
	current := with
	look := func() txn.View { return current }
	id, _, err := a.Authenticate(with, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, release, err := a.Bind(look, r, id)
	if err != nil {
		t.Fatal(err)
	}
	second, releaseSecond, err := a.Bind(look, r, id)
	if err != nil {
		t.Fatal(err)
	}
	byToken, _, err := a.Bind(look, r, txn.Identity{Name: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	unmarked, _ := request(1)
	forever, _, err := a.Bind(func() txn.View { return without }, unmarked, id)
	if err != nil {
		t.Errorf("a certificate without the mark: %v", err)
	}
	a.Unbind(with, record.Name)
	a.Unbind(without, "another")
	if ctx.Err() != nil {
		t.Error("ended with the record there")
	}
	releaseSecond()
	if second.Err() == nil {
		t.Error("a released context goes on")
	}
	a.Unbind(without, record.Name)
	if ctx.Err() == nil {
		t.Error("goes on without its record")
	}
	release()
	if byToken.Err() != nil || forever.Err() != nil {
		t.Error("what was believed for something else has ended")
	}
	current = without
	if _, _, err := a.Bind(look, r, id); err == nil {
		t.Error("bound after the removal")
	}
	current = with
	if ctx, _, err = a.Bind(look, r, id); err != nil {
		t.Fatal(err)
	}
	if a.Unbind(without, ""); ctx.Err() == nil {
		t.Error("goes on after a look at all")
	}
}

// BenchmarkBind is what a request that lasts pays, beside ten thousand others.
func BenchmarkBind(b *testing.B) {
	a := authn.New(authn.Config{})
	certificate := &x509.Certificate{SerialNumber: big.NewInt(1), URIs: []*url.URL{authn.Recorded()}}
	record, err := authn.NewUserCertificate(certificate, "root", now).Object()
	if err != nil {
		b.Fatal(err)
	}
	with := view(record)
	look := func() txn.View { return with }
	r := httptest.NewRequest("GET", "/api/v1/pods?watch=1", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}
	id := txn.Identity{Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=" + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}}
	for range 10_000 {
		if _, _, err := a.Bind(look, r, id); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		_, release, err := a.Bind(look, r, id)
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}
