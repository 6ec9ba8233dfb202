package apiserver_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/internal/pki"
)

// TestAnonymousIsRefused: on every verb and path but the health checks and the
// version.
func TestAnonymousIsRefused(t *testing.T) {
	t.Parallel()
	server := start(t)
	nobody := peerOf(t, server)
	for _, path := range []string{
		"/", "/livez/ping", "/api", "/apis", "/api/v1", "/apis/apps/v1", "/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/metrics", "/metrics/slis",
		"/debug/pprof/", "/debug/pprof/profile", "/debug/api_priority_and_fairness/dump_queues", "/logs/", "/configz", "/swagger.json", "/nothing",
		"/.well-known/openid-configuration", "/openid/v1/jwks", apiserver.EncryptionPath + "/", "/apis/txn.headway.sh/v1/view",
		"/apis/txn.headway.sh/v1/plan", "/apis/txn.headway.sh/v1/observe",
		"/api/v1/namespaces", "/api/v1/namespaces/default", "/api/v1/namespaces/default/finalize", "/api/v1/secrets", "/api/v1/secrets?watch=1",
		"/api/v1/watch/secrets", "/api/v1/namespaces/kube-system/secrets/x", "/api/v1/nodes/n1/proxy/pods", "/api/v1/namespaces/default/pods/p/exec?command=sh",
		"/api/v1/namespaces/default/pods/p/log", "/api/v1/namespaces/default/services/s:80/proxy/", "/api/v1/namespaces/default/serviceaccounts/default/token",
		"/apis/authentication.k8s.io/v1/tokenreviews", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
		"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
		"/apis/authorization.k8s.io/v1/subjectaccessreviews", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
		"/apis/certificates.k8s.io/v1/certificatesigningrequests", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			if code, text := nobody.ask(t, method, path, ""); code != http.StatusUnauthorized {
				t.Errorf("%s %s: %d %s, want 401", method, path, code, text)
			}
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/healthz", "/version"} {
		if code, text := nobody.ask(t, "GET", path, ""); code != http.StatusOK {
			t.Errorf("GET %s: %d %s, want 200", path, code, text)
		}
	}
}

// TestPretendersAreRefused: certificates of other authorities, and headers
// that only a front proxy may send.
func TestPretendersAreRefused(t *testing.T) {
	t.Parallel()
	server := start(t)
	foreign, err := pki.LoadOrCreateCA(t.TempDir(), "client", time.Now())
	check(t, err)
	a := server.Authorities()
	issue := func(ca *pki.CA, name string, change func(*pki.Request)) tls.Certificate {
		request := pki.Request{CommonName: name, Organizations: []string{"system:masters"}, Client: true}
		if change != nil {
			change(&request)
		}
		return pair(t)(ca.Issue(request, time.Now()))
	}
	asUser := []string{"X-Remote-User", "root", "X-Remote-Group", "system:masters"}
	const secretList = "/api/v1/secrets"
	for name, c := range map[string]struct {
		certificates []tls.Certificate
		headers      []string
		want         int
	}{
		"masters of another authority":                 {[]tls.Certificate{issue(foreign, "root", nil)}, nil, 401},
		"masters of the API's serving authority":       {[]tls.Certificate{issue(a.API, "root", nil)}, nil, 401},
		"masters of the nodes' serving authority":      {[]tls.Certificate{issue(a.NodeServing, "root", nil)}, nil, 401},
		"masters of the etcd peers' authority":         {[]tls.Certificate{issue(a.EtcdPeer, "root", nil)}, nil, 401},
		"a front proxy in its own name":                {[]tls.Certificate{issue(a.FrontProxy, "front", nil)}, nil, 401},
		"a certificate for servers only":               {[]tls.Certificate{issue(a.Client, "root", func(r *pki.Request) { r.Client, r.Server = false, true })}, nil, 401},
		"a certificate without a name":                 {[]tls.Certificate{issue(a.Client, "", nil)}, nil, 401},
		"headers without a certificate":                {nil, asUser, 401},
		"headers with another authority's certificate": {[]tls.Certificate{issue(foreign, "front", nil)}, asUser, 401},
		"headers with a person's own certificate":      {[]tls.Certificate{pair(t)(a.UserCertificate("jane", nil, 0))}, asUser, 403},
		"a token in a header's other form":             {nil, []string{"Authorization", "Basic cm9vdDpyb290"}, 401},
		"impersonation without a credential":           {nil, []string{"Impersonate-User", "root", "Impersonate-Group", "system:masters"}, 401},
		"a front proxy for somebody":                   {[]tls.Certificate{issue(a.FrontProxy, "front", nil)}, asUser, 200},
		"a master":                                     {[]tls.Certificate{issue(a.Client, "root", nil)}, nil, 200},
	} {
		if code, text := peerOf(t, server, c.certificates...).ask(t, "GET", secretList, "", c.headers...); code != c.want {
			t.Errorf("%s: %d %s, want %d", name, code, text, c.want)
		}
	}
}

// TestJoinTokensAreRefused: expired, revoked, guessed, for another use, with a
// group of their own choice; a good one reads nothing but its request.
func TestJoinTokensAreRefused(t *testing.T) {
	t.Parallel()
	server := start(t)
	owner := server.Peer(admin).Client()
	token := func(change func(*corev1.Secret)) string {
		token, err := apiserver.NewJoinToken(time.Hour)
		check(t, err)
		secret := token.Object(time.Now())
		if change != nil {
			change(secret)
		}
		check(t, owner.Create(t.Context(), secret))
		return token.ID + "." + token.Secret
	}
	good := token(nil)
	revoked := token(nil)
	check(t, owner.Delete(t.Context(), &corev1.Secret{ObjectMeta: inSystem("bootstrap-token-" + revoked[:6])}))
	nobody := peerOf(t, server)
	for name, c := range map[string]struct {
		token, path string
		want        int
	}{
		"expired": {token(func(s *corev1.Secret) {
			s.Data["expiration"] = []byte(time.Now().Add(-time.Second).UTC().Format(time.RFC3339))
		}), "/api", 401},
		"revoked":                 {revoked, "/api", 401},
		"guessed":                 {good[:7] + strings.Repeat("a", 16), "/api", 401},
		"not for authentication":  {token(func(s *corev1.Secret) { s.Data["usage-bootstrap-authentication"] = []byte("false") }), "/api", 401},
		"of a master":             {token(func(s *corev1.Secret) { s.Data["auth-extra-groups"] = []byte("system:masters") }), "/api", 401},
		"used up":                 {token(func(s *corev1.Secret) { s.Data["headway-uses-left"] = []byte("0") }), "/api", 401},
		"uses that are no number": {token(func(s *corev1.Secret) { s.Data["headway-uses-left"] = []byte("many") }), "/api", 401},
		"another type of Secret":  {token(func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }), "/api", 401},
		"good":                    {good, "/apis/certificates.k8s.io/v1/certificatesigningrequests", 200},
		"good, Secrets":           {good, "/api/v1/namespaces/kube-system/secrets", 403},
		"good, its own Secret":    {good, "/api/v1/namespaces/kube-system/secrets/bootstrap-token-" + good[:6], 403},
		"good, nodes":             {good, "/api/v1/nodes", 403},
	} {
		if code, text := nobody.ask(t, "GET", c.path, "", "Authorization", "Bearer "+c.token); code != c.want {
			t.Errorf("%s: %d %s, want %d", name, code, text, c.want)
		}
	}
}
