package apiserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/apiserver"
)

// anybody asks without credentials.
func anybody(t *testing.T, server *apiserver.Server) func(path string) string {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(server.Authorities().API.PEM)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "kubernetes.default.svc"}}
	t.Cleanup(transport.CloseIdleConnections)
	return func(path string) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+server.Address().String()+path, nil)
		check(t, err)
		answer, err := (&http.Client{Transport: transport}).Do(request)
		check(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		check(t, err)
		return fmt.Sprintf("%d %s", answer.StatusCode, body)
	}
}

func TestHealthHasNamedChecks(t *testing.T) {
	server := start(t)
	get := anybody(t, server)
	for path, want := range map[string]string{
		"/livez":         "200 ok",
		"/livez?verbose": "200 [+]ping ok\n[+]log ok\n[+]etcd ok\n[+]poststarthook/rbac/bootstrap-roles ok\nlivez check passed\n",
		"/readyz?verbose&exclude=etcd&exclude=nonsense": "200 [+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n" +
			"[+]poststarthook/rbac/bootstrap-roles ok\n[+]shutdown ok\nwarn: some health checks cannot be excluded: no matches for \"nonsense\"\nreadyz check passed\n",
		"/healthz": "200 ok",
	} {
		if got := get(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if got := get("/readyz/etcd"); !strings.HasPrefix(got, "401 ") {
		t.Errorf("anybody asks for one check: %s", got)
	}
	root, err := kubernetes.NewForConfig(asPerson(t, server, "root", "system:masters"))
	check(t, err)
	for _, path := range []string{"/livez/etcd", "/readyz/informer-sync", "/healthz/poststarthook/rbac/bootstrap-roles"} {
		if text, err := root.CoreV1().RESTClient().Get().AbsPath(path).DoRaw(t.Context()); err != nil || string(text) != "ok" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
}

func TestReadyzTellsThatTheServerStops(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	server, stop := startIn(t, t.TempDir(), func(c *apiserver.Config) { c.Clock, c.ShutdownDelay = clock, time.Hour })
	get := anybody(t, server)
	if got := get("/readyz"); got != "200 ok" {
		t.Fatal(got)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	eventually(t, "a server that stops", func(context.Context) (bool, error) {
		return strings.Contains(get("/readyz"), "[-]shutdown failed: reason withheld\n"), nil
	})
	if got := get("/livez"); got != "200 ok" {
		t.Errorf("a server that stops is not live: %s", got)
	}
	for ended := false; !ended; { // its timer may begin a moment later
		clock.Step(2 * time.Hour)
		select {
		case <-stopped:
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
}
