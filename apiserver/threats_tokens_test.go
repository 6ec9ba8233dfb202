package apiserver_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver"
)

// asked makes a token as the API does.
func asked(t *testing.T, server *apiserver.Server, account string, spec authenticationv1.TokenRequestSpec) string {
	t.Helper()
	issued, err := adminClient(t, server).CoreV1().ServiceAccounts(metav1.NamespaceDefault).CreateToken(t.Context(), account,
		&authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	check(t, err)
	return issued.Status.Token
}

func boundTo(kind, name string) authenticationv1.TokenRequestSpec {
	return authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}}
}

// claimsOf are what a token says, without a look at its signature.
func claimsOf(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	_, _, err := jwt.NewParser().ParseUnverified(token, claims)
	check(t, err)
	return claims
}

// TestAccountTokensAreRefused: every way in which a service account's token
// can be wrong is a 401, also where a right one would be let in.
func TestAccountTokensAreRefused(t *testing.T) {
	t.Parallel()
	server := start(t)
	owner := server.Peer(admin).Client()
	for _, name := range []string{"web", "gone", "anew"} {
		check(t, owner.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: inDefault(name)}))
	}
	for _, name := range []string{"lives", "dies", "again"} {
		pod := podOn("", name)
		pod.Spec.ServiceAccountName = "web"
		check(t, owner.Create(t.Context(), pod))
		check(t, owner.Create(t.Context(), &corev1.Secret{ObjectMeta: inDefault(name)}))
		check(t, owner.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	tokens := map[string]string{
		"wrong audience":       asked(t, server, "web", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}}),
		"deleted account":      asked(t, server, "gone", authenticationv1.TokenRequestSpec{}),
		"account made anew":    asked(t, server, "anew", authenticationv1.TokenRequestSpec{}),
		"pod of a new account": asked(t, server, "web", boundTo("Pod", "again")),
	}
	good := asked(t, server, "web", authenticationv1.TokenRequestSpec{})
	for _, kind := range []string{"Pod", "Secret", "Node"} {
		tokens["deleted "+kind] = asked(t, server, "web", boundTo(kind, "dies"))
	}
	for _, o := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: inDefault("gone")}, &corev1.ServiceAccount{ObjectMeta: inDefault("anew")},
		&corev1.Pod{ObjectMeta: inDefault("dies")}, &corev1.Pod{ObjectMeta: inDefault("again")},
		&corev1.Secret{ObjectMeta: inDefault("dies")}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "dies"}},
	} {
		check(t, owner.Delete(t.Context(), o, client.GracePeriodSeconds(0)))
	}
	check(t, owner.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: inDefault("anew")}))
	again := podOn("", "again")
	again.Spec.ServiceAccountName = "web"
	check(t, owner.Create(t.Context(), again))
	for name, token := range forged(t, server, good) {
		tokens[name] = token
	}

	nobody := peerOf(t, server)
	who := func(token string, headers ...string) (int, string) {
		return nobody.ask(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`,
			append([]string{"Authorization", "Bearer " + token}, headers...)...)
	}
	for name, token := range tokens {
		if code, text := who(token); code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s, want 401", name, code, text)
		} else if strings.Contains(text, token) || strings.Contains(text, "audience") {
			t.Errorf("%s: the answer says more than that: %s", name, text)
		}
		if code, text := who(token, "Impersonate-User", "system:serviceaccount:default:web"); code != http.StatusUnauthorized {
			t.Errorf("%s, impersonating: %d %s, want 401", name, code, text)
		}
		if code, text := personPeer(t, server, "ada").ask(t, "GET", "/api", "", "Authorization", "Bearer "+token); code != http.StatusUnauthorized {
			t.Errorf("%s, beside a person's certificate: %d %s, want 401", name, code, text)
		}
	}
	for name, token := range map[string]string{"as issued": good, "bound to a pod": asked(t, server, "web", boundTo("Pod", "lives")),
		"bound to a Secret": asked(t, server, "web", boundTo("Secret", "lives")), "bound to a node": asked(t, server, "web", boundTo("Node", "lives"))} {
		if code, text := who(token); code != http.StatusCreated || !strings.Contains(text, `"username":"system:serviceaccount:default:web"`) {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
}

// forged are tokens that say what a good one says but for one thing.
func forged(t *testing.T, server *apiserver.Server, good string) map[string]string {
	t.Helper()
	own := server.Authorities().ServiceAccounts
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.MarshalPKIXPublicKey(own.Public())
	check(t, err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	sign := func(method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
		claims := claimsOf(t, good)
		if change != nil {
			change(claims)
		}
		text, err := jwt.NewWithClaims(method, claims).SignedString(key)
		check(t, err)
		return text
	}
	es := func(key crypto.Signer, change func(jwt.MapClaims)) string {
		return sign(jwt.SigningMethodES256, key, change)
	}
	body := strings.Split(good, ".")
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"nOnE"}`))
	swapped, err := json.Marshal(claimsOf(t, good))
	check(t, err)
	swapped = []byte(strings.Replace(string(swapped), "system:serviceaccount:default:web", "system:serviceaccount:kube-system:gitsource", 1))
	return map[string]string{
		"expired":        es(own, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Second).Unix() }),
		"without an end": es(own, func(c jwt.MapClaims) { delete(c, "exp") }),
		"not yet valid":  es(own, func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"other issuer":   es(own, func(c jwt.MapClaims) { c["iss"] = "https://issuer.example" }),
		"no audience":    es(own, func(c jwt.MapClaims) { delete(c, "aud") }),
		"account with another UID": es(own, func(c jwt.MapClaims) {
			c["kubernetes.io"].(map[string]any)["serviceaccount"].(map[string]any)["uid"] = types.UID("x")
		}),
		"subject of another account":       es(own, func(c jwt.MapClaims) { c["sub"] = "system:serviceaccount:kube-system:gitsource" }),
		"no account":                       es(own, func(c jwt.MapClaims) { delete(c, "kubernetes.io") }),
		"another key":                      es(other, nil),
		"alg none":                         sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"alg nOnE with the signature":      header + "." + body[1] + "." + body[2],
		"HS256 with the public key as PEM": sign(jwt.SigningMethodHS256, public, nil),
		"HS256 with the public key as DER": sign(jwt.SigningMethodHS256, der, nil),
		"HS256 with an empty key":          sign(jwt.SigningMethodHS256, []byte{}, nil),
		"another's claims":                 body[0] + "." + base64.RawURLEncoding.EncodeToString(swapped) + "." + body[2],
		"no signature":                     body[0] + "." + body[1] + ".",
		"two parts":                        body[0] + "." + body[1],
		"nonsense":                         "a.b.c",
		"very long":                        strings.Repeat("a", 100<<10),
	}
}
