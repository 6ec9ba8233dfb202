package registry_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/headway-sh/headway/nodeagent/registry"
)

// nothing is a store that has nothing, and wants to be asked for good names only.
type nothing struct{ t *testing.T }

func (n nothing) Tag(_ context.Context, ref string) (ocispec.Descriptor, time.Time, error) {
	if ref == "" {
		n.t.Error("asked for no name")
	}
	return ocispec.Descriptor{}, time.Time{}, registry.ErrNotServed
}

func (n nothing) Find(_ context.Context, d digest.Digest) (ocispec.Descriptor, error) {
	if d.Validate() != nil {
		n.t.Errorf("asked for %q", d)
	}
	return ocispec.Descriptor{}, registry.ErrNotServed
}

func (n nothing) Open(context.Context, ocispec.Descriptor) (registry.Blob, error) {
	n.t.Error("asked for what is not there")
	return nil, registry.ErrNotServed
}

// FuzzPath asks for anything: it is not there, and nothing worse.
func FuzzPath(f *testing.F) {
	f.Add("library/nginx/manifests/latest", "docker.io")
	f.Add("../../etc/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000", "")
	f.Add("/manifests//blobs/", "a:b@c")
	f.Fuzz(func(t *testing.T, path, ns string) {
		request := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		request.URL.Path = "/v2/" + path
		request.URL.RawQuery = url.Values{"ns": {ns}}.Encode()
		response := httptest.NewRecorder()
		(&registry.Server{Store: nothing{t}, Logger: slog.New(slog.DiscardHandler)}).ServeHTTP(response, request)
		if path != "" && response.Code != http.StatusNotFound {
			t.Errorf("%q: %d", path, response.Code)
		}
	})
}
