package containerd_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/runtime/runtimetest"
)

// TestPull pulls from a registry on loopback that wants a password.
func TestPull(t *testing.T) {
	n := newNode(t)
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	closed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if closed && (user != "jane" || password != "secret") {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/app:v1"
	push(t, ref)
	closed = true

	a := n.agent(t)
	defer a.stop()
	_, err := a.Pull(t.Context(), ref, nil)
	if err == nil || !strings.Contains(err.Error(), ref) || !strings.Contains(err.Error(), "401") {
		t.Errorf("pull without credentials: %v", err)
	}
	credentials := []runtime.Credentials{{Username: "jack", Password: "guessed"}, {Username: "jane", Password: "secret"}}
	if _, err := a.Pull(t.Context(), strings.Replace(ref, "v1", "v2", 1), credentials); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("pull of what is not there: %v", err)
	}
	img, err := a.Pull(t.Context(), ref, credentials)
	if err != nil {
		t.Fatal(err)
	}
	if img.Credentials == nil || img.Credentials.Username != "jane" || img.Node || img.Loaded {
		t.Errorf("pulled by the right of %+v, %v", img.Credentials, img.Node)
	}
	var digest string
	for _, r := range img.References {
		if strings.Contains(r, "@sha256:") {
			digest = r
		}
	}
	if byDigest, err := a.Image(t.Context(), digest); err != nil || byDigest.ID != img.ID {
		t.Errorf("by digest %q: %+v, %v", digest, byDigest, err)
	}
	if err := a.RemoveImage(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if _, err := a.Image(t.Context(), ref); !errors.Is(err, runtime.ErrImageNotFound) {
		t.Errorf("after removal: %v", err)
	}
}

func push(t *testing.T, ref string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	archive := runtimetest.Archive(t, busybox)
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := strings.Cut(ref, "/")
	repository := "http://" + host + "/v2/team/app"
	send := func(method, path, mediaType string, body []byte) {
		request, err := http.NewRequestWithContext(t.Context(), method, repository+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", mediaType)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }() // only its status counts
		if answer.StatusCode != http.StatusCreated {
			t.Fatalf("%s %s: %s", method, path, answer.Status)
		}
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	send(http.MethodPost, "/blobs/uploads/?digest="+manifest.Config.Digest.String(), "application/octet-stream", config)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, layer := range layers {
		from, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		send(http.MethodPost, "/blobs/uploads/?digest="+manifest.Layers[i].Digest.String(), "application/octet-stream", content)
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	send(http.MethodPut, "/manifests/v1", string(manifest.MediaType), raw)
}
