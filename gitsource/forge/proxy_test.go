package forge_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/forge"
	"github.com/headway-sh/headway/gitsource/forge/forgetest"
)

// TestProxy: calls go through the proxy that is named, which sees no token, and
// each is told with its result.
func TestProxy(t *testing.T) {
	t.Parallel()
	var tunnels atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || strings.Contains(r.Header.Get("Authorization")+r.Header.Get("Private-Token"), forgetest.Token) {
			http.Error(w, "not a tunnel", http.StatusBadRequest)
			return
		}
		tunnels.Add(1)
		there, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		_, _ = here.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		done := make(chan struct{}, 2)
		for _, ends := range [][2]net.Conn{{here, there}, {there, here}} {
			go func() {
				_, _ = io.Copy(ends[0], ends[1])
				done <- struct{}{}
			}()
		}
		<-done
	}))
	t.Cleanup(proxy.Close)
	s := forgetest.New(v1alpha1.ForgeGitHub)
	t.Cleanup(s.Close)
	var told []int
	target := forge.Target{Type: v1alpha1.ForgeGitHub, URL: s.URL(), Repository: forgetest.Repository, Token: forgetest.Token, CABundle: s.CA(),
		Proxy: proxy.URL, Called: func(status int, took time.Duration) { told = append(told, status) }}
	c, err := forge.New(target)
	if err != nil {
		t.Fatal(err)
	}
	status := forge.Status{Commit: strings.Repeat("1", 40), Context: "headway/test/main", State: forge.Success}
	if err := c.SetStatus(t.Context(), status); err != nil {
		t.Fatal(err)
	}
	s.Fail(forgetest.Fault{Status: http.StatusUnauthorized})
	if err := c.SetStatus(t.Context(), status); err == nil {
		t.Error("refused without an error")
	}
	proxy.Close()
	if err := c.SetStatus(t.Context(), status); err == nil {
		t.Error("without the proxy it goes past it")
	}
	if len(told) != 3 || told[0] != http.StatusCreated || told[1] != http.StatusUnauthorized || told[2] != 0 || tunnels.Load() != 2 {
		t.Errorf("told %v, %d tunnels", told, tunnels.Load())
	}
	for _, wrong := range []string{"proxy:3128", "ftp://proxy", "http://", ":"} {
		target.Proxy = wrong
		if _, err := forge.New(target); err == nil {
			t.Errorf("%q is taken for a proxy", wrong)
		}
	}
}
