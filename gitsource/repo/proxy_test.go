package repo_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/internal/gittest"
)

// TestClientCertificates: a server that wants one is shown the remote's own.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	head := r.push(t, "first")
	from := r.https()
	from.ClientCert, from.ClientKey = r.server.WantClient(t)
	r.fetch(t, from)
	r.isAt(t, head)
	r.reports(t, from)
	other := newRemote(t)
	wrong := r.https()
	wrong.ClientCert, wrong.ClientKey = other.server.WantClient(t)
	for name, from := range map[string]repo.Remote{"none": r.https(), "another authority's": wrong} {
		if _, err := r.mirror.Fetch(t.Context(), from); err == nil || !strings.Contains(err.Error(), "tls:") {
			t.Errorf("%s: %v", name, err)
		}
	}
	from.Proxy = "https://jane:secret@localhost:1"
	if _, err := r.mirror.Fetch(t.Context(), from); err == nil || !strings.Contains(err.Error(), "client certificate") || strings.Contains(err.Error(), "secret") {
		t.Errorf("behind a proxy that could ask for it: %v", err)
	}
}

// TestProxies: the proxy that the remote names is gone through, with the
// proxy's own password; it sees nothing of the remote's credentials, and what
// the remote redirects to is not asked for through it either.
func TestProxies(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	head := r.push(t, "first")
	proxy := r.server.NewProxy(t)
	from := r.https()
	from.Proxy, from.NoProxy = proxy.URL, "other.invalid"
	from.URL = "https://example.com/remote.git" // which the server's certificate names, and only the proxy finds
	r.fetch(t, from)
	r.isAt(t, head)
	r.reports(t, from)
	through := proxy.Requests()
	if len(through) == 0 {
		t.Fatal("the proxy was not asked")
	}
	for _, q := range through {
		if q.Method != http.MethodConnect || q.Host != "example.com:443" || q.Header.Get("Authorization") != "" {
			t.Errorf("the proxy was asked to %s %s with %v", q.Method, q.Host, q.Header)
		}
	}
	for _, q := range r.server.Requests() {
		if strings.Contains(q.Authorization, "proxy") || q.Authorization == "" {
			t.Errorf("the server was asked with %q", q.Authorization)
		}
	}

	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("%s was asked, with %q", req.Host, req.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	r.server.Break(gittest.Redirect(elsewhere.URL))
	if _, err := r.mirror.Fetch(t.Context(), from); err == nil || !strings.Contains(err.Error(), "only redirects on the same host") {
		t.Errorf("redirected: %v", err)
	}
	for _, q := range proxy.Requests() {
		if q.Host != "example.com:443" {
			t.Errorf("the proxy was asked for %s", q.Host)
		}
	}
	r.server.Break(nil)

	direct := r.https()
	direct.Proxy, direct.NoProxy = proxy.URL, "localhost,127.0.0.0/8"
	r.fetch(t, direct)
	if n := len(proxy.Requests()); n != 0 {
		t.Errorf("the proxy was asked %d times for a host that is reached without it", n)
	}
	direct.NoProxy = ""
	r.fetch(t, direct)
	if n := len(proxy.Requests()); n == 0 {
		t.Error("the proxy was not asked")
	}
	direct.Proxy = strings.Replace(proxy.URL, gittest.ProxyPassword, "wrong-word", 1)
	if _, err := r.mirror.Fetch(t.Context(), direct); err == nil || !strings.Contains(err.Error(), "Proxy Authentication Required") || strings.Contains(err.Error(), "wrong-word") {
		t.Errorf("with a wrong password: %v", err)
	}
}
