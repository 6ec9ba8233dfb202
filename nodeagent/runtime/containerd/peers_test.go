package containerd_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	imageregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/headway-sh/headway/nodeagent/registry"
	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

// places are where an image's registry is said to be.
type places []registry.Endpoint

func (p places) Endpoints(string) ([]registry.Endpoint, error) { return p, nil }

func endpoint(t *testing.T, address string) registry.Endpoint {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return registry.Endpoint{URL: u}
}

// TestImagesOfOtherNodes has an image on one node and no registry: another one
// pulls it from there, but nothing that is private or was changed on the way.
func TestImagesOfOtherNodes(t *testing.T) {
	first, second := newNode(t), newNode(t)
	first.importImage(t)
	a := first.agent(t)
	defer a.stop()
	var public, hostile atomic.Bool
	public.Store(true)
	store := &containerd.Served{Runtime: a.Runtime, Public: func(string, []string) bool { return public.Load() }}
	serving := &registry.Server{Store: store, Logger: slog.New(slog.DiscardHandler)}
	var asked atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if hostile.Load() && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			recorder := httptest.NewRecorder()
			serving.ServeHTTP(recorder, r)
			text := recorder.Body.Bytes()
			text[len(text)/2] ^= 1
			w.Header().Set("Content-Type", recorder.Header().Get("Content-Type"))
			w.WriteHeader(recorder.Code)
			_, _ = w.Write(text)
			return
		}
		serving.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	peers := registry.NewPeers(func() []netip.AddrPort { return []netip.AddrPort{nobody, at} }, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool})
	t.Cleanup(peers.Client().CloseIdleConnections)
	away := places{endpoint(t, "http://127.0.0.1:1")}
	pull := func(registries places, ref string) (runtime.Pulled, error) {
		t.Helper()
		b := second.agent(t, func(c *containerd.Config) { c.Peers, c.Registries = peers, registries })
		defer b.stop()
		img, err := b.Pull(t.Context(), ref, nil)
		if err == nil {
			if err := b.RemoveImage(t.Context(), img.ID); err != nil {
				t.Fatal(err)
			}
		}
		return img, err
	}
	want, err := a.Image(t.Context(), runtimetest.ImageName)
	if err != nil {
		t.Fatal(err)
	}
	if !want.Loaded {
		t.Error("an image from an archive does not say so")
	}
	byDigest := ""
	for _, ref := range want.References {
		if strings.Contains(ref, "@") {
			byDigest = ref
		}
	}

	public.Store(false)
	if _, err := pull(away, runtimetest.ImageName); err == nil {
		t.Error("a private image is given away")
	}
	if _, err := pull(away, byDigest); err == nil {
		t.Error("a private image is given away by its digest")
	}
	public.Store(true)
	hostile.Store(true)
	if _, err := pull(away, runtimetest.ImageName); err == nil {
		t.Error("changed content is believed")
	}
	hostile.Store(false)
	for _, ref := range []string{runtimetest.ImageName, byDigest} {
		img, err := pull(away, ref)
		if err != nil || img.ID != want.ID || img.Credentials != nil || img.Loaded {
			t.Fatalf("%s: %+v, want ID %s: %v", ref, img, want.ID, err)
		}
	}

	// What the registry says counts: the hostile node only costs time.
	hostile.Store(true)
	real := httptest.NewServer(imageregistry.New())
	t.Cleanup(real.Close)
	ref := strings.TrimPrefix(real.URL, "http://") + "/team/app:v1"
	push(t, ref)
	img, err := pull(places{endpoint(t, real.URL)}, ref)
	if err != nil || img.ID != want.ID {
		t.Errorf("%+v: %v", img, err)
	}
	if asked.Load() == 0 {
		t.Error("the other node was not asked")
	}
}

// TestWhatIsServed reads an image as any client of the distribution API does.
func TestWhatIsServed(t *testing.T) {
	n := newNode(t)
	n.importImage(t)
	a := n.agent(t)
	defer a.stop()
	var public atomic.Bool
	public.Store(true)
	server := httptest.NewServer(&registry.Server{
		Store: &containerd.Served{Runtime: a.Runtime, Public: func(string, []string) bool { return public.Load() }}, Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(server.Close)
	named, err := runtime.NormalizeReference(runtimetest.ImageName)
	if err != nil {
		t.Fatal(err)
	}
	host, rest, _ := strings.Cut(named, "/")
	name, tag, _ := strings.Cut(rest, ":")
	get := func(method, path string, header http.Header) (*http.Response, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var body bytes.Buffer
		if _, err := body.ReadFrom(response.Body); err != nil && !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Fatal(err)
		}
		return response, body.String()
	}
	manifest := "/v2/" + name + "/manifests/" + tag + "?ns=" + host
	whole, text := get(http.MethodGet, manifest, nil)
	if whole.StatusCode != http.StatusOK || !strings.Contains(whole.Header.Get("Content-Type"), "json") || whole.Header.Get("Headway-Updated") == "" {
		t.Fatalf("%s, %v", whole.Status, whole.Header)
	}
	digest := whole.Header.Get("Docker-Content-Digest")
	if again, body := get(http.MethodGet, "/v2/"+name+"/manifests/"+digest, nil); again.StatusCode != http.StatusOK || body != text {
		t.Errorf("by its digest: %s, %q", again.Status, body)
	}
	if part, body := get(http.MethodGet, "/v2/"+name+"/blobs/"+digest, http.Header{"Range": {"bytes=2-5"}}); part.StatusCode != http.StatusPartialContent || body != text[2:6] {
		t.Errorf("a range: %s, %q", part.Status, body)
	}
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/v2/", http.StatusOK},
		{http.MethodGet, "/v2/" + name + "/manifests/other?ns=" + host, http.StatusNotFound},
		{http.MethodGet, "/v2/" + name + "/manifests/" + tag + "?ns=elsewhere.example", http.StatusNotFound},
		{http.MethodGet, "/v2/" + name + "/blobs/sha256:" + strings.Repeat("0", 64), http.StatusNotFound},
		{http.MethodGet, "/v2/" + name + "/tags/list", http.StatusNotFound},
		{http.MethodPost, "/v2/" + name + "/blobs/uploads/", http.StatusMethodNotAllowed},
		{http.MethodPut, manifest, http.StatusMethodNotAllowed},
	} {
		if got, body := get(c.method, c.path, nil); got.StatusCode != c.want {
			t.Errorf("%s %s: %s, want %d: %s", c.method, c.path, got.Status, c.want, body)
		}
	}
	// Where a blob was found is remembered, whether it may be had is not.
	blob := "/v2/" + name + "/blobs/" + digest
	public.Store(false)
	if got, _ := get(http.MethodGet, blob, nil); got.StatusCode != http.StatusNotFound {
		t.Errorf("of an image that is not everybody's any more: %s", got.Status)
	}
	public.Store(true)
	for range 2 { // found among all, and where it was
		if got, body := get(http.MethodGet, blob, nil); got.StatusCode != http.StatusOK || body != text {
			t.Errorf("of one that is again: %s, %q", got.Status, body)
		}
	}
	if err := a.RemoveImage(t.Context(), named); err != nil {
		t.Fatal(err)
	}
	if got, _ := get(http.MethodGet, blob, nil); got.StatusCode != http.StatusNotFound {
		t.Errorf("of an image that is gone: %s", got.Status)
	}
}
