package registry_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/headway-sh/headway/nodeagent/registry"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

// TestATagMeansTheSameForAll asks nodes that do not agree, in any order: what was
// tagged last counts, and of two at once the lower digest.
func TestATagMeansTheSameForAll(t *testing.T) {
	t.Parallel()
	pool := x509.NewCertPool()
	node := func(digest string, updated int) netip.AddrPort {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if digest == "" || r.URL.Path != "/v2/team/app/manifests/v1" || r.URL.Query().Get("ns") != "example.com" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat(digest, 64))
			w.Header().Set("Headway-Updated", fmt.Sprint(updated))
			w.Header().Set("Content-Length", "10")
		}))
		t.Cleanup(server.Close)
		pool.AddCert(server.Certificate())
		return netip.MustParseAddrPort(server.Listener.Addr().String())
	}
	old, a1, a2, b, none := node("f", 1), node("a", 5), node("a", 4), node("b", 5), node("", 0)
	all := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), old, b, a2, none, a1}
	for range 3 {
		slices.Reverse(all)
		all = append(all[2:], all[:2]...)
		peers := registry.NewPeers(func() []netip.AddrPort { return all }, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool})
		found, ok := peers.Find(t.Context(), "example.com/team/app:v1")
		if want := "sha256:" + strings.Repeat("a", 64); !ok || found.Target.Digest.String() != want {
			t.Fatalf("it is %s, want %s", found.Target.Digest, want)
		}
		slices.Sort(found.Hosts)
		if want := []string{a1.String(), a2.String()}; len(found.Hosts) != 2 || !slices.Contains(want, found.Hosts[0]) || !slices.Contains(want, found.Hosts[1]) {
			t.Errorf("had by %v, want %v", found.Hosts, want)
		}
		peers.Client().CloseIdleConnections()
	}
	peers := registry.NewPeers(func() []netip.AddrPort { return all }, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool})
	defer peers.Client().CloseIdleConnections()
	if found, ok := peers.Find(t.Context(), "docker.io/team/app:v1"); ok {
		t.Errorf("another registry's: %+v", found)
	}
}
