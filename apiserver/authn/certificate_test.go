package authn_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authn"
)

// TestCertificateTellsUIDAndCredential: a certificate gives its user the UID
// in its subject, and says which credential it is.
func TestCertificateTellsUIDAndCredential(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "client")
	a := authn.New(authn.Config{Clients: ca.Pool(), Clock: clocktesting.NewFakePassiveClock(now)})
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}
	for name, c := range map[string]struct {
		uids []any
		want string
		ok   bool
	}{
		"none":  {nil, "", true},
		"one":   {[]any{"u-1"}, "u-1", true},
		"two":   {[]any{"u-1", "u-2"}, "", false},
		"empty": {[]any{""}, "", false},
	} {
		subject := pkix.Name{CommonName: "ada", Organization: []string{"dev"}}
		for _, uid := range c.uids {
			subject.ExtraNames = append(subject.ExtraNames, pkix.AttributeTypeAndValue{Type: oid, Value: uid})
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca.Certificate, newKey(t).Public(), ca.Key)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/api", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}
		id, ok, err := a.Authenticate(txn.Empty{}, r)
		if ok != c.ok || ok != (err == nil) {
			t.Errorf("%s: %v, %v", name, ok, err)
			continue
		}
		if !ok {
			continue
		}
		sum := sha256.Sum256(der)
		want := txn.Identity{Name: "ada", UID: c.want, Groups: []string{"dev", "system:authenticated"}, Address: "192.0.2.1",
			Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=" + hex.EncodeToString(sum[:])}}}
		if diff := cmp.Diff(want, id); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}
