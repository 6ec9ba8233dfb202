package rest_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/rest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"))
}

func TestHTTP2(t *testing.T) {
	w := newWorld(t)
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS() // only for its certificate
	defer certified.Close()
	server := rest.Server(w.handler, &tls.Config{Certificates: certified.TLS.Certificates}, slog.New(slog.DiscardHandler))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}, Protocols: protocols}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+listener.Addr().String()+"/version", nil)
	check(t, err)
	response, err := transport.RoundTrip(r)
	check(t, err)
	response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusOK {
		t.Errorf("%s %s", response.Proto, response.Status)
	}
	transport.CloseIdleConnections()
	check(t, server.Close())
	if err := <-done; err != http.ErrServerClosed {
		t.Error(err)
	}
}

// connector writes the subresource and the tail of its path.
type connector struct{}

func (connector) Connect(w http.ResponseWriter, r *http.Request, info *rest.RequestInfo, identity txn.Identity, o txn.Object) error {
	if info.Subresource == "exec" {
		panic("connect")
	}
	_, err := io.WriteString(w, strings.Join([]string{info.Subresource, o.GetName(), identity.Name, info.Tail, r.URL.RawQuery}, " "))
	return err
}

func TestConnect(t *testing.T) {
	w := newWorld(t, func(c *rest.Config) { c.Connector = connector{} })
	w.namespace("shop")
	_, err := w.client("alice").CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	check(t, err)
	pod := "/api/v1/namespaces/shop/pods/"
	for path, want := range map[string]string{
		pod + "p/log?follow=true":   "200 log p alice  follow=true",
		pod + "p/proxy/a/../b%2Fc":  "200 proxy p alice /a/../b%2Fc ",
		pod + "q/log":               `404`,
		pod + "p/nonsense":          "404 404 page not found\n",
		pod + "p/exec?command=true": `500`,
	} {
		response := w.get(path)
		if got := response.Status[:3] + " " + read(t, response); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestGzip(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	_, err := c.Create(t.Context(), configMap("small", "k", "v"), metav1.CreateOptions{})
	check(t, err)
	if response := w.get(maps, "Accept-Encoding", "gzip"); response.Header.Get("Content-Encoding") != "" {
		t.Error("a small list is compressed")
	}
	_, err = c.Create(t.Context(), configMap("large", "k", strings.Repeat("v", 200<<10)), metav1.CreateOptions{})
	check(t, err)
	if response := w.get(maps, "Accept-Encoding", "gzip"); response.Header.Get("Content-Encoding") != "gzip" {
		t.Error("a large list is not compressed")
	}
	if response := w.get(maps, "Accept-Encoding", "identity"); response.Header.Get("Content-Encoding") != "" {
		t.Error("compressed for who does not want it")
	}
	list, err := c.List(t.Context(), metav1.ListOptions{}) // the client reads gzip by itself
	check(t, err)
	if len(list.Items) != 2 || len(list.Items[0].Data["k"]) != 200<<10 {
		t.Errorf("read %d items", len(list.Items))
	}
}

// TestStoppedStore checks that a server whose store has stopped says so and
// lets its watchers go.
func TestStoppedStore(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	watched := w.get(maps + "?watch=1")
	w.stop()
	w.stop = func() {}
	if b := read(t, watched); !strings.Contains(b, `"code":503`) {
		t.Errorf("the watch ended with %q", b)
	}
	response := w.get(maps)
	if b := read(t, response); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s %s", response.Status, b)
	}
}

func TestExtraPaths(t *testing.T) {
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, limited := r.Context().Deadline()
			fmt.Fprint(w, text, " ", rest.IdentityFrom(r.Context()).Name, " ", limited)
		})
	}
	w := newWorld(t, func(c *rest.Config) {
		c.Paths = map[string]http.Handler{"/openid/v1/jwks": say("keys"), "/git/": say("git"), "/git/special/": say("special")}
	})
	for path, want := range map[string]string{
		"/openid/v1/jwks": "keys alice true", "/openid/v1": "404 page not found\n", "/git/main.git/info/refs": "git alice false",
		"/git/special/x": "special alice false",
	} {
		if got := read(t, w.get(path)); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if response := w.get("/git/main.git", "Test-User", ""); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("anonymous: %s", response.Status)
	}
}
