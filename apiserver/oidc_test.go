package apiserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/headway-sh/headway/apiserver"
)

// authenticationFile writes a configuration in one step, as editors do.
func authenticationFile(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.WriteFile(path+".new", []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"+text), 0o600))
	check(t, os.Rename(path+".new", path))
}

// trust is the configuration of one issuer, with more below its part.
func trust(p *provider, more string) string {
	ca := strings.ReplaceAll(strings.TrimSpace(p.ca), "\n", "\n      ")
	return fmt.Sprintf("- issuer:\n    url: %s\n    audiences: [headway]\n    certificateAuthority: |\n      %s\n%s", p.url, ca, more)
}

const plainMapping = `  claimMappings:
    username: {claim: sub, prefix: "oidc:"}
    groups: {claim: groups, prefix: "oidc:"}
`

// startTrusting runs a server with a configuration file, and gives its path.
func startTrusting(t *testing.T, text string) (*apiserver.Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	authenticationFile(t, path, text)
	server, _ := startIn(t, t.TempDir(), func(c *apiserver.Config) { c.AuthenticationConfig = path })
	return server, path
}

// becomes waits until a token is answered so.
func becomes(t *testing.T, server *apiserver.Server, what, token string, code int, text string) {
	t.Helper()
	eventually(t, what, func(context.Context) (bool, error) {
		got, said := whoIs(t, server, token)
		return got == code && strings.Contains(said, text), nil
	})
}

// TestForeignTokens: tokens of a configured issuer are believed, and every way
// in which one can be wrong is a 401.
func TestForeignTokens(t *testing.T) {
	t.Parallel()
	p, stranger := newProvider(t), newProvider(t)
	server, _ := startTrusting(t, "jwt:\n"+trust(p, plainMapping))
	good := p.token(t, "first", jwt.MapClaims{"jti": "t-1"})
	becomes(t, server, "the provider to be asked", good, http.StatusCreated, `"username":"oidc:ada","groups":["oidc:dev","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["JTI=t-1"]}`)
	becomes(t, server, "two audiences", p.token(t, "first", jwt.MapClaims{"aud": []string{"x", "headway"}}), http.StatusCreated, "oidc:ada")
	becomes(t, server, "one group", p.token(t, "first", jwt.MapClaims{"groups": "ops"}), http.StatusCreated, `"oidc:ops"`)

	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	for name, token := range map[string]string{
		"wrong audience":        p.token(t, "first", jwt.MapClaims{"aud": "vault"}),
		"no audience":           p.token(t, "first", jwt.MapClaims{"aud": nil}),
		"expired":               p.token(t, "first", jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}),
		"without an end":        p.token(t, "first", jwt.MapClaims{"exp": nil}),
		"not yet valid":         p.token(t, "first", jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}),
		"other issuer":          stranger.token(t, "first", nil),
		"other issuer's key":    stranger.token(t, "first", jwt.MapClaims{"iss": p.url}),
		"the cluster's issuer":  p.token(t, "first", jwt.MapClaims{"iss": "https://kubernetes.default.svc.cluster.local"}),
		"unknown key":           signed(t, jwt.SigningMethodES256, other, "unknown", p.claims(nil)),
		"known key's name":      signed(t, jwt.SigningMethodES256, other, "first", p.claims(nil)),
		"alg none":              signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "first", p.claims(nil)),
		"HS256":                 signed(t, jwt.SigningMethodHS256, []byte("secret"), "first", p.claims(nil)),
		"nobody's name":         p.token(t, "first", jwt.MapClaims{"sub": nil}),
		"a name that is a list": p.token(t, "first", jwt.MapClaims{"sub": []string{"ada"}}),
		"no signature":          good[:strings.LastIndex(good, ".")+1],
		"no token":              "abc",
	} {
		if code, text := whoIs(t, server, token); code != http.StatusUnauthorized || strings.Contains(text, "oidc") {
			t.Errorf("%s: %d %s, want 401 and no more", name, code, text)
		}
	}

	p.rotate(t, "second")
	becomes(t, server, "the new key", p.token(t, "second", jwt.MapClaims{"sub": "bob"}), http.StatusCreated, "oidc:bob")
	p.change(func() { p.away = true })
	becomes(t, server, "a known key while the provider is away", p.token(t, "second", jwt.MapClaims{"sub": "eve"}), http.StatusCreated, "oidc:eve")
	if code, text := peerOf(t, server).ask(t, "GET", "/api/v1/secrets", "", "Authorization", "Bearer "+p.token(t, "second", nil)); code != http.StatusForbidden || !strings.Contains(text, `User \"oidc:ada\" cannot list`) {
		t.Errorf("who is known and has no right: %d %s", code, text)
	}
}

// TestForeignClaimRules: claims are mapped and checked by CEL as configured.
func TestForeignClaimRules(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	server, _ := startTrusting(t, "jwt:\n"+trust(p, `  claimValidationRules:
  - {claim: hd, requiredValue: example.com}
  - {expression: 'claims.exp - claims.iat <= 7200', message: lives too long}
  - {expression: 'claims.?email_verified.orValue(true) == true', message: an address that is not hers}
  claimMappings:
    username: {expression: 'claims.email.split("@")[0] + ":" + claims.sub'}
    groups: {expression: 'claims.roles.split(",").filter(r, r.startsWith("k8s-")).map(r, r.substring(4))'}
    uid: {claim: oid}
    extra:
    - {key: example.com/tenant, valueExpression: claims.tenant}
  userValidationRules:
  - {expression: '!user.username.startsWith("system:")', message: no such names}
  - {expression: 'user.groups.all(g, g != "root")', message: not this group}
`))
	with := func(changes jwt.MapClaims) string {
		c := jwt.MapClaims{"hd": "example.com", "iat": time.Now().Unix(), "email": "ada@example.com", "email_verified": true, "roles": "k8s-dev,payroll", "oid": "u-1", "tenant": "blue"}
		for name, value := range changes {
			c[name] = value
		}
		return p.token(t, "first", c)
	}
	becomes(t, server, "the provider to be asked", with(nil), http.StatusCreated,
		`"username":"ada:ada","uid":"u-1","groups":["dev","system:authenticated"],"extra":{"example.com/tenant":["blue"]}`)
	for name, token := range map[string]string{
		"claim with another value": with(jwt.MapClaims{"hd": "example.org"}),
		"claim is missing":         with(jwt.MapClaims{"hd": nil}),
		"claim rule":               with(jwt.MapClaims{"exp": time.Now().Add(3 * time.Hour).Unix()}),
		"user rule on the name":    with(jwt.MapClaims{"email": "system@example.com", "sub": "admin"}),
		"user rule on the groups":  with(jwt.MapClaims{"roles": "k8s-root"}),
		"address not verified":     with(jwt.MapClaims{"email_verified": false}),
		"expression that fails":    with(jwt.MapClaims{"email": 7}),
	} {
		if code, text := whoIs(t, server, token); code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s, want 401", name, code, text)
		}
	}
}

// TestProviderAwayThenBack: a server starts without the provider, and believes
// its tokens as soon as it has come back.
func TestProviderAwayThenBack(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.away = true
	server, _ := startTrusting(t, "jwt:\n"+trust(p, plainMapping))
	token := p.token(t, "first", nil)
	if code, text := whoIs(t, server, token); code != http.StatusUnauthorized {
		t.Errorf("while the provider is away: %d %s", code, text)
	}
	if code, _ := personPeer(t, server, "jane").ask(t, "GET", "/version", ""); code != http.StatusOK {
		t.Errorf("others meanwhile: %d", code)
	}
	p.change(func() { p.away = false })
	becomes(t, server, "the provider to be asked again", token, http.StatusCreated, "oidc:ada")
}

// TestIssuersChangeWithTheFile: the file is in force as soon as it is written,
// a wrong one changes nothing and is counted.
func TestIssuersChangeWithTheFile(t *testing.T) {
	t.Parallel()
	first, second := newProvider(t), newProvider(t)
	second.issuer = "https://login.example.com"
	server, path := startTrusting(t, "jwt:\n"+trust(first, plainMapping))
	ofFirst := first.token(t, "first", nil)
	ofSecond := second.token(t, "first", jwt.MapClaims{"iss": second.issuer, "sub": "bob"})
	becomes(t, server, "the first issuer", ofFirst, http.StatusCreated, "oidc:ada")
	if code, _ := whoIs(t, server, ofSecond); code != http.StatusUnauthorized {
		t.Errorf("an issuer that is not configured: %d", code)
	}
	elsewhere := strings.Replace(trust(second, plainMapping), "url: "+second.url, "url: "+second.issuer+"\n    discoveryURL: "+second.url+"/elsewhere", 1)
	authenticationFile(t, path, "jwt:\n"+trust(first, plainMapping)+elsewhere)
	becomes(t, server, "the second issuer", ofSecond, http.StatusCreated, "oidc:bob")
	becomes(t, server, "the first issuer beside it", ofFirst, http.StatusCreated, "oidc:ada")

	root := personPeer(t, server, "root", "system:masters")
	authenticationFile(t, path, "jwt: [{issuer: {url: http://insecure.example.com, audiences: [a]}}]\n")
	// The registry is one for all tests of the process: this server's address
	// tells which of the lines is its own.
	eventually(t, "the refusal to be counted", func(context.Context) (bool, error) {
		_, text := root.ask(t, "GET", "/metrics", "")
		return strings.Contains(text, `apiserver_authentication_config_controller_automatic_reloads_total{apiserver_id_hash="`+hashOf(server.Address().String())+`",status="failure"} 1`), nil
	})
	becomes(t, server, "the issuers from before", ofSecond, http.StatusCreated, "oidc:bob")

	authenticationFile(t, path, "jwt:\n"+elsewhere)
	becomes(t, server, "the first issuer to be gone", ofFirst, http.StatusUnauthorized, "")
	becomes(t, server, "the second to stay", ofSecond, http.StatusCreated, "oidc:bob")
}

// TestAnonymousAsConfigured: the file says what is answered without a
// credential; rights decide all the same.
func TestAnonymousAsConfigured(t *testing.T) {
	t.Parallel()
	server, path := startTrusting(t, "")
	nobody := peerOf(t, server)
	for _, c := range []struct {
		name, text string
		codes      map[string]int
	}{
		{"not said", "", map[string]int{"/livez": 200, "/version": 200, "/api": 401, "/api/v1/pods": 401}},
		{"off", "anonymous: {enabled: false}\n", map[string]int{"/livez": 401, "/version": 401, "/api": 401, "/api/v1/pods": 401}},
		{"one path", "anonymous: {enabled: true, conditions: [{path: /livez}]}\n", map[string]int{"/livez": 200, "/version": 401, "/api": 401, "/api/v1/pods": 401}},
		{"on", "anonymous: {enabled: true}\n", map[string]int{"/livez": 200, "/version": 200, "/api": 403, "/api/v1/pods": 403}},
	} {
		authenticationFile(t, path, c.text)
		for target, want := range c.codes {
			eventually(t, c.name+": "+target, func(context.Context) (bool, error) {
				code, _ := nobody.ask(t, "GET", target, "")
				return code == want, nil
			})
		}
	}
	if code, text := nobody.ask(t, "GET", "/api/v1/pods", "", "Authorization", "Bearer nonsense"); code != 401 {
		t.Errorf("a wrong credential: %d %s, want 401", code, text)
	}
}

func TestWrongAuthenticationFileStopsTheStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"unknown field":          {"jwts: []\n", `unknown field "jwts"`},
		"no TLS":                 {"jwt: [{issuer: {url: http://x.example.com, audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}]\n", "URL scheme must be https"},
		"no audience":            {"jwt: [{issuer: {url: https://x.example.com}, claimMappings: {username: {claim: sub, prefix: ''}}}]\n", "jwt[0].issuer.audiences"},
		"the cluster's own":      {"jwt: [{issuer: {url: https://kubernetes.default.svc.cluster.local, audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}]\n", "disallowed issuers"},
		"two of one issuer":      {"jwt:\n- &i {issuer: {url: https://x.example.com, audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}\n- *i\n", "Duplicate value"},
		"expression of no use":   {"jwt: [{issuer: {url: https://x.example.com, audiences: [a]}, claimMappings: {username: {expression: 'claims.sub =='}}}]\n", "compilation failed"},
		"egress selector":        {"jwt: [{issuer: {url: https://x.example.com, audiences: [a], egressSelectorType: cluster}, claimMappings: {username: {claim: sub, prefix: ''}}}]\n", "no egress selectors"},
		"conditions without use": {"anonymous: {enabled: false, conditions: [{path: /livez}]}\n", "anonymous.conditions"},
	} {
		path := filepath.Join(t.TempDir(), "authentication.yaml")
		authenticationFile(t, path, c.text)
		_, err := apiserver.Start(t.Context(), apiserver.Config{DataDir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"),
			Logger: slog.New(slog.DiscardHandler), AuthenticationConfig: path})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q and the file's name", name, err, c.want)
		}
	}
}
