package apiserver_test

import (
	"encoding/base64"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/apiserver"
)

// TestTokenReviewTellsTheAudiences: a review says for which of the audiences
// asked for a token is meant, and the server's own are meant by default.
func TestTokenReviewTellsTheAudiences(t *testing.T) {
	t.Parallel()
	server := start(t)
	owner := server.Peer(admin).Client()
	check(t, owner.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: inDefault("web")}))
	join, err := apiserver.NewJoinToken(time.Hour)
	check(t, err)
	secret := join.Object(time.Now())
	check(t, owner.Create(t.Context(), secret))
	own := []string{"https://kubernetes.default.svc.cluster.local", "https://kubernetes.default.svc"}
	tokens := map[string]string{
		"own":  asked(t, server, "web", authenticationv1.TokenRequestSpec{}),
		"two":  asked(t, server, "web", authenticationv1.TokenRequestSpec{Audiences: []string{"vault", "registry"}}),
		"join": string(secret.Data["token-id"]) + "." + string(secret.Data["token-secret"]),
	}
	for _, c := range []struct {
		name, token string
		ask, want   []string // want nil: not believed
	}{
		{"by default the server's own", "own", nil, own},
		{"one of the server's own", "own", own[1:], own[1:]},
		{"the server's own and another", "own", []string{"vault", own[0]}, own[:1]},
		{"only another", "own", []string{"vault"}, nil},
		{"by default not another's", "two", nil, nil},
		{"both, in the order asked", "two", []string{"registry", "vault"}, []string{"registry", "vault"}},
		{"one of three", "two", []string{"a", "vault", "b"}, []string{"vault"}},
		{"a join token by default", "join", nil, own},
		{"a join token for the server", "join", []string{"vault", own[1]}, own[1:]},
		{"a join token for another", "join", []string{"vault"}, nil},
	} {
		review, err := adminClient(t, server).AuthenticationV1().TokenReviews().Create(t.Context(),
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: tokens[c.token], Audiences: c.ask}}, metav1.CreateOptions{})
		check(t, err)
		status := review.Status
		if status.Authenticated != (c.want != nil) || status.Authenticated != (status.Error == "") {
			t.Errorf("%s: authenticated %v, error %q", c.name, status.Authenticated, status.Error)
		}
		if diff := cmp.Diff(c.want, status.Audiences); diff != "" {
			t.Errorf("%s: audiences (-want +got)\n%s", c.name, diff)
		}
		if status.Authenticated && !slices.Contains(status.User.Groups, "system:authenticated") {
			t.Errorf("%s: groups %v", c.name, status.User.Groups)
		}
	}
}

// TestTokenAmongSubprotocols: a WebSocket may bring its token as a
// subprotocol, beside another one.
func TestTokenAmongSubprotocols(t *testing.T) {
	t.Parallel()
	server := start(t)
	check(t, server.Peer(admin).Client().Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: inDefault("web")}))
	good := asked(t, server, "web", authenticationv1.TokenRequestSpec{})
	protocol := func(token string) string {
		return "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(token))
	}
	client := oldHTTP(peerOf(t, server))
	for _, c := range []struct {
		name      string
		webSocket bool
		protocols []string
		code      int
	}{
		{"beside another", true, []string{"v5.channel.k8s.io, " + protocol(good)}, http.StatusCreated},
		{"before another", true, []string{protocol(good) + ",v5.channel.k8s.io"}, http.StatusCreated},
		{"in a header of its own", true, []string{"v5.channel.k8s.io", protocol(good)}, http.StatusCreated},
		{"alone", true, []string{protocol(good)}, http.StatusUnauthorized},
		{"twice", true, []string{"v5.channel.k8s.io", protocol(good), protocol(good)}, http.StatusUnauthorized},
		{"a wrong one", true, []string{"v5.channel.k8s.io", protocol(good + "x")}, http.StatusUnauthorized},
		{"padded", true, []string{"v5.channel.k8s.io", protocol(good) + "=="}, http.StatusUnauthorized},
		{"not text", true, []string{"v5.channel.k8s.io", protocol("\xff\xfe")}, http.StatusUnauthorized},
		{"no WebSocket", false, []string{"v5.channel.k8s.io", protocol(good)}, http.StatusUnauthorized},
		{"none", true, []string{"v5.channel.k8s.io"}, http.StatusUnauthorized},
	} {
		var headers []string
		if c.webSocket {
			headers = append(headers, "Connection", "Upgrade", "Upgrade", "websocket")
		}
		for _, p := range c.protocols {
			headers = append(headers, "Sec-WebSocket-Protocol", p)
		}
		code, text := client.ask(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
			`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`, headers...)
		if code != c.code {
			t.Errorf("%s: %d %s, want %d", c.name, code, text, c.code)
		}
	}
}

// oldHTTP is the same peer over HTTP/1.1, which has upgrades.
func oldHTTP(p peer) peer {
	p.http.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	return p
}
