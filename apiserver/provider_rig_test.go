package apiserver_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/headway-sh/headway/apiserver"
)

// provider is an OpenID Connect provider over TLS, with keys that change and
// days on which it does not answer.
type provider struct {
	url string
	// ca is the PEM of who signed its certificate.
	ca     string
	mu     sync.Mutex // guards what follows
	keys   map[string]*ecdsa.PrivateKey
	away   bool
	issuer string // what it says it is; empty: url
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{keys: map[string]*ecdsa.PrivateKey{}}
	p.rotate(t, "first")
	server := httptest.NewTLSServer(p)
	t.Cleanup(server.Close)
	p.url = server.URL
	p.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return p
}

// rotate replaces all keys by one.
func (p *provider) rotate(t *testing.T, id string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	p.change(func() { p.keys = map[string]*ecdsa.PrivateKey{id: key} })
}

func (p *provider) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	issuer := p.issuer
	if issuer == "" {
		issuer = p.url
	}
	w.Header().Set("Content-Type", "application/json")
	var answer any
	switch r.URL.Path {
	case "/.well-known/openid-configuration", "/elsewhere":
		answer = map[string]any{"issuer": issuer, "jwks_uri": p.url + "/keys"}
	case "/keys":
		keys := []map[string]string{}
		for id, key := range p.keys {
			raw, err := key.PublicKey.Bytes()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			keys = append(keys, map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id,
				"x": base64.RawURLEncoding.EncodeToString(raw[1:33]), "y": base64.RawURLEncoding.EncodeToString(raw[33:])})
		}
		answer = map[string]any{"keys": keys}
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // an error means that the client is gone
}

// claims are those of a token that is right, with changes; nil takes one out.
func (p *provider) claims(changes jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"iss": p.url, "aud": "headway", "sub": "ada", "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"dev"}}
	maps.Copy(c, changes)
	for name, value := range changes {
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

// token signs with a key of the provider.
func (p *provider) token(t *testing.T, id string, changes jwt.MapClaims) string {
	t.Helper()
	p.mu.Lock()
	key := p.keys[id]
	p.mu.Unlock()
	return signed(t, jwt.SigningMethodES256, key, id, p.claims(changes))
}

func signed(t *testing.T, method jwt.SigningMethod, key crypto.PrivateKey, id string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = id
	text, err := token.SignedString(key)
	check(t, err)
	return text
}

// whoIs asks the server who the holder of a token is.
func whoIs(t *testing.T, server *apiserver.Server, token string) (int, string) {
	t.Helper()
	return peerOf(t, server).ask(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
		`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`, "Authorization", "Bearer "+token)
}

// hashOf is a text as metrics show it.
func hashOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }
