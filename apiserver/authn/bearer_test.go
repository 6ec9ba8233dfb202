package authn_test

import (
	"encoding/base64"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/apiserver/authn"
)

// TestSubprotocolTokenIsTakenOut: who serves the WebSocket, and whoever it is
// handed on to, sees the other subprotocols only.
func TestSubprotocolTokenIsTakenOut(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakePassiveClock(now)
	tokens := newTokens(t, newKey(t), clock)
	cluster := view(joinSecret(nil))
	a := authn.New(authn.Config{ServiceAccounts: tokens, Audiences: []string{audience}, Clock: clock})
	r := httptest.NewRequest("GET", "/api/v1/namespaces/default/pods/p/exec", nil)
	r.Header.Set("Connection", "keep-alive, Upgrade")
	r.Header.Set("Upgrade", "WebSocket")
	r.Header.Add("Sec-WebSocket-Protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io."+base64.RawURLEncoding.EncodeToString([]byte("abcdef.0123456789abcdef")))
	r.Header.Add("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
	id, ok, err := a.Authenticate(cluster, r)
	if err != nil || !ok || id.Name != "system:bootstrap:abcdef" {
		t.Errorf("%+v, %v, %v", id, ok, err)
	}
	if diff := cmp.Diff([]string{"v5.channel.k8s.io,v4.channel.k8s.io"}, r.Header.Values("Sec-WebSocket-Protocol")); diff != "" {
		t.Errorf("left for the handler (-want +got)\n%s", diff)
	}
}
