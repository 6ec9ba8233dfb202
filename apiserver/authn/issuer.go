package authn

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// The paths at which others find out how to verify service account tokens
// (OpenID Connect Discovery 1.0, RFC 7517).
const (
	configurationPath = "/.well-known/openid-configuration"
	keysPath          = "/openid/v1/jwks"
)

type issuerConfiguration struct {
	Issuer     string   `json:"issuer"`
	Keys       string   `json:"jwks_uri"`
	Responses  []string `json:"response_types_supported"`
	Subjects   []string `json:"subject_types_supported"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
}

type publicKey struct {
	Use       string `json:"use"`
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Curve     string `json:"crv"`
	Algorithm string `json:"alg"`
	X         string `json:"x"`
	Y         string `json:"y"`
}

// IssuerHandler answers what verifiers of service account tokens ask for: who
// the issuer is, and its public keys.
func (s *ServiceAccountTokens) IssuerHandler() (http.Handler, error) {
	raw, err := s.key.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		return nil, fmt.Errorf("service account key: %w", err)
	}
	// An uncompressed point: 4, then X and Y in 32 bytes each.
	x, y := raw[1:33], raw[33:]
	mux := http.NewServeMux()
	for path, document := range map[string]struct {
		media   string
		content any
	}{
		configurationPath: {"application/json", issuerConfiguration{
			Issuer: s.issuer, Keys: s.issuer + keysPath, Responses: []string{"id_token"}, Subjects: []string{"public"}, Algorithms: []string{"ES256"}}},
		keysPath: {"application/jwk-set+json", map[string][]publicKey{"keys": {{
			Use: "sig", Type: "EC", ID: s.keyID, Curve: "P-256", Algorithm: "ES256",
			X: base64.RawURLEncoding.EncodeToString(x), Y: base64.RawURLEncoding.EncodeToString(y)}}}},
	} {
		b, err := json.Marshal(document.content)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", path, err)
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", document.media)
			w.Header().Set("Cache-Control", "public, max-age=3600")
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
			w.Write(b) // an error means that the client is gone
		})
	}
	return mux, nil
}
