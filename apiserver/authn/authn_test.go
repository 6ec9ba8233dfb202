package authn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/internal/pki"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const audience = "https://kubernetes.default.svc"

func view(objects ...txn.Object) txn.View {
	all := map[txn.Ref]txn.Object{}
	for _, o := range objects {
		resource := ""
		switch o.(type) {
		case *corev1.ServiceAccount:
			resource = "serviceaccounts"
		case *corev1.Pod:
			resource = "pods"
		case *corev1.Secret:
			resource = "secrets"
		}
		all[txn.Ref{Resource: schema.GroupResource{Resource: resource}, Namespace: o.GetNamespace(), Name: o.GetName()}] = o
	}
	return txn.Overlay(txn.Empty{}, all, nil)
}

func account(uid string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: types.UID(uid)}}
}

func pod(uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: types.UID(uid)}, Spec: corev1.PodSpec{ServiceAccountName: "web"}}
}

func newTokens(t *testing.T, key *ecdsa.PrivateKey, clock *clocktesting.FakePassiveClock) *authn.ServiceAccountTokens {
	t.Helper()
	tokens, err := authn.NewServiceAccountTokens("https://issuer", []string{audience}, key, clock)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestServiceAccountToken(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakePassiveClock(now)
	key := newKey(t)
	tokens := newTokens(t, key, clock)
	full := view(account("a"), pod("p"))
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web-1", UID: "p"}}}
	issued, err := tokens.Issue(full, "shop", "web", request)
	if err != nil {
		t.Fatal(err)
	}
	token := issued.Status.Token
	id, _, err := tokens.Verify(full, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id.Name != "system:serviceaccount:shop:web" || !slices.Contains(id.Groups, "system:serviceaccounts:shop") || id.Extra["authentication.kubernetes.io/pod-name"][0] != "web-1" {
		t.Errorf("identity %+v", id)
	}

	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	forge := func(method jwt.SigningMethod, with any) string {
		claims := jwt.MapClaims{"iss": "https://issuer", "aud": []string{audience}, "exp": now.Add(time.Hour).Unix(), "sub": "system:serviceaccount:shop:web",
			"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]string{"name": "web", "uid": "a"}}}
		s, err := jwt.NewWithClaims(method, claims).SignedString(with)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, c := range map[string]struct {
		view      txn.View
		token     string
		audiences []string
		after     time.Duration
	}{
		"account deleted":                  {view: view(pod("p")), token: token},
		"account made anew":                {view: view(account("b"), pod("p")), token: token},
		"pod deleted":                      {view: view(account("a")), token: token},
		"pod made anew":                    {view: view(account("a"), pod("q")), token: token},
		"other audience":                   {view: full, token: token, audiences: []string{"vault"}},
		"expired":                          {view: full, token: token, after: 61 * time.Minute},
		"other key":                        {view: full, token: forge(jwt.SigningMethodES256, newKey(t))},
		"alg none":                         {view: full, token: forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType)},
		"HS256 signed with the public key": {view: full, token: forge(jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))},
		"tampered":                         {view: full, token: token[:len(token)-8] + "AAAAAAAA"},
		"nonsense":                         {view: full, token: "a.b.c"},
	} {
		clock.SetTime(now.Add(c.after))
		if id, _, err := tokens.Verify(c.view, c.token, c.audiences); err == nil {
			t.Errorf("%s: accepted as %q", name, id.Name)
		}
	}
	clock.SetTime(now)
	if _, _, err := tokens.Verify(full, forge(jwt.SigningMethodES256, key), nil); err != nil {
		t.Errorf("the forger's own form is refused for another reason: %v", err)
	}
}

func TestTokenRequestIsChecked(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t, newKey(t), clocktesting.NewFakePassiveClock(now))
	full := view(account("a"), pod("p"))
	short := int64(60)
	for name, spec := range map[string]authenticationv1.TokenRequestSpec{
		"too short":    {ExpirationSeconds: &short},
		"wrong uid":    {BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web-1", UID: "other"}},
		"missing pod":  {BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web-9"}},
		"unknown kind": {BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Service", APIVersion: "v1", Name: "web"}},
	} {
		if _, err := tokens.Issue(full, "shop", "web", &authenticationv1.TokenRequest{Spec: spec}); err == nil {
			t.Errorf("%s: a token was made", name)
		}
	}
	if _, err := tokens.Issue(full, "shop", "nobody", &authenticationv1.TokenRequest{}); err == nil {
		t.Error("a token was made for an account that does not exist")
	}
}

func joinSecret(edit func(map[string][]byte)) *corev1.Secret {
	data := map[string][]byte{"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
		"auth-extra-groups": []byte(authn.GroupJoin), "expiration": []byte(now.Add(time.Hour).Format(time.RFC3339))}
	if edit != nil {
		edit(data)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken, Data: data}
}

func TestJoinToken(t *testing.T) {
	t.Parallel()
	a := authn.New(authn.Config{Clock: clocktesting.NewFakePassiveClock(now)})
	for name, c := range map[string]struct {
		view  txn.View
		token string
		want  bool
	}{
		"good":             {view(joinSecret(nil)), "abcdef.0123456789abcdef", true},
		"wrong secret":     {view(joinSecret(nil)), "abcdef.0123456789abcdee", false},
		"revoked":          {view(), "abcdef.0123456789abcdef", false},
		"expired":          {view(joinSecret(func(d map[string][]byte) { d["expiration"] = []byte(now.Format(time.RFC3339)) })), "abcdef.0123456789abcdef", false},
		"nonsense expiry":  {view(joinSecret(func(d map[string][]byte) { d["expiration"] = []byte("never") })), "abcdef.0123456789abcdef", false},
		"other use":        {view(joinSecret(func(d map[string][]byte) { delete(d, "usage-bootstrap-authentication") })), "abcdef.0123456789abcdef", false},
		"group escalation": {view(joinSecret(func(d map[string][]byte) { d["auth-extra-groups"] = []byte("system:masters") })), "abcdef.0123456789abcdef", false},
	} {
		id, _, err := a.Token(t.Context(), c.view, c.token, nil)
		if (err == nil) != c.want {
			t.Errorf("%s: %v, want ok %v", name, err, c.want)
		}
		if c.want && (id.Name != "system:bootstrap:abcdef" || !slices.Contains(id.Groups, authn.GroupJoin)) {
			t.Errorf("%s: identity %+v", name, id)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	clients, other := newCA(t, "client"), newCA(t, "other")
	a := authn.New(authn.Config{Clients: clients.Pool(), FrontProxy: other.Pool(), FrontProxyNames: []string{"front"}, Clock: clocktesting.NewFakePassiveClock(now)})
	present := func(ca *pki.CA, name string, header ...string) (txn.Identity, bool, error) {
		certPEM, _, err := ca.Issue(pki.Request{CommonName: name, Organizations: []string{"system:masters"}, Client: true}, now)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := pki.ParseCertificate(certPEM)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/api", strings.NewReader(""))
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		return a.Authenticate(txn.Empty{}, r)
	}
	if id, ok, err := present(clients, "jane"); !ok || err != nil || id.Name != "jane" || !slices.Contains(id.Groups, "system:authenticated") {
		t.Errorf("jane: %+v %v %v", id, ok, err)
	}
	if id, ok, err := present(other, "jane"); ok || err == nil {
		t.Errorf("system:masters from another authority is accepted: %+v", id)
	}
	if id, ok, _ := present(clients, "jane", "X-Remote-User", "root", "X-Remote-Group", "system:masters"); !ok || id.Name != "jane" {
		t.Errorf("a client that is no front proxy asserted %q", id.Name)
	}
	if id, ok, err := present(other, "front", "X-Remote-User", "bob", "X-Remote-Group", "dev"); !ok || err != nil || id.Name != "bob" || !slices.Contains(id.Groups, "dev") {
		t.Errorf("front proxy: %+v %v %v", id, ok, err)
	}
	if _, ok, err := present(other, "rogue", "X-Remote-User", "bob"); ok || err == nil {
		t.Error("a proxy of another name may assert users")
	}
	r := httptest.NewRequest("GET", "/api", nil)
	if id, ok, err := a.Authenticate(txn.Empty{}, r); ok || err != nil || id.Name != authn.Anonymous {
		t.Errorf("without credentials: %+v %v %v", id, ok, err)
	}
}

// A certificate that was believed once is believed for its own authority and
// its own time only.
func TestVerifiedCertificateExpires(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakePassiveClock(now)
	clients, other := newCA(t, "client"), newCA(t, "other")
	certPEM, _, err := clients.Issue(pki.Request{CommonName: "jane", Client: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	a := authn.New(authn.Config{Clients: clients.Pool(), FrontProxy: other.Pool(), Clock: clock})
	r := httptest.NewRequest("GET", "/api", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	for range 2 {
		if id, ok, err := a.Authenticate(txn.Empty{}, r); !ok || err != nil || id.Name != "jane" {
			t.Fatalf("jane: %+v %v %v", id, ok, err)
		}
	}
	r.Header.Set("X-Remote-User", "root")
	if id, _, _ := a.Authenticate(txn.Empty{}, r); id.Name != "jane" {
		t.Errorf("a client's certificate passes for a front proxy's: %q", id.Name)
	}
	clock.SetTime(cert.NotAfter.Add(time.Second))
	if id, ok, err := a.Authenticate(txn.Empty{}, r); ok || err == nil {
		t.Errorf("an expired certificate is believed because it was before: %+v", id)
	}
	clock.SetTime(cert.NotBefore.Add(-time.Second))
	if id, ok, err := a.Authenticate(txn.Empty{}, r); ok || err == nil {
		t.Errorf("a certificate is believed before its time: %+v", id)
	}
}

func newCA(t *testing.T, name string) *pki.CA {
	t.Helper()
	ca, err := pki.LoadOrCreateCA(t.TempDir(), name, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}
