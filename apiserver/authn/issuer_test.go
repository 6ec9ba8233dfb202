package authn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestOthersFindTheIssuersKey(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h, err := newTokens(t, key, clocktesting.NewFakePassiveClock(time.Unix(1000, 0))).IssuerHandler()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path string, into any) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	var configuration struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	ask("/.well-known/openid-configuration", &configuration)
	if configuration.Issuer != "https://issuer" || configuration.Keys != "https://issuer/openid/v1/jwks" {
		t.Errorf("configuration %+v", configuration)
	}
	var set struct {
		Keys []struct{ X, Y string }
	}
	ask("/openid/v1/jwks", &set)
	number := func(text string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(b)
	}
	if len(set.Keys) != 1 || !key.PublicKey.Equal(&ecdsa.PublicKey{Curve: elliptic.P256(), X: number(set.Keys[0].X), Y: number(set.Keys[0].Y)}) {
		t.Errorf("keys %+v", set.Keys)
	}
}
