package openapi_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/spec3"

	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/openapi"
)

func newHandler(t testing.TB) *openapi.Handler {
	t.Helper()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	h, err := openapi.New(kinds.All(), nil, nil, scheme, "v1.37.0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t testing.TB, h http.Handler, path string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), b
}

// index gives the hash URL of every document.
func index(t testing.TB, h http.Handler) map[string]string {
	t.Helper()
	_, b := get(t, h, "/openapi/v3")
	var found struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal(b, &found); err != nil {
		t.Fatal(err)
	}
	urls := map[string]string{}
	for name, p := range found.Paths {
		urls[name] = p.ServerRelativeURL
	}
	return urls
}

// TestV3 reads every document, in both forms, and checks that no reference
// leads nowhere.
func TestV3(t *testing.T) {
	t.Parallel()
	h := newHandler(t)
	urls, reported := index(t, h), map[string]bool{}
	for _, k := range kinds.All() {
		name := "apis/" + k.GVK.GroupVersion().String()
		if k.GVK.Group == "" {
			name = "api/v1"
		}
		if urls[name] == "" {
			t.Errorf("no document for %s", name)
		}
	}
	for name, url := range urls {
		response, b := get(t, h, url)
		if !strings.Contains(response.Header.Get("Cache-Control"), "immutable") || response.Header.Get("ETag") == "" {
			t.Errorf("%s: headers %v", name, response.Header)
		}
		var document spec3.OpenAPI
		if err := json.Unmarshal(b, &document); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for part := range strings.SplitSeq(string(b), `"$ref":"#/components/schemas/`) {
			ref, _, _ := strings.Cut(part, `"`)
			if strings.HasPrefix(ref, "{") {
				continue // what stands before the first reference
			}
			if document.Components.Schemas[ref] == nil && !reported[ref] {
				reported[ref] = true
				t.Errorf("%s: reference to nothing: %s", name, ref)
			}
		}
		response, b = get(t, h, url, "Accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf")
		var binary openapi_v3.Document
		if err := proto.Unmarshal(b, &binary); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s as protobuf: %s %v", name, response.Status, err)
		}
		if response, _ := get(t, h, url, "If-None-Match", response.Header.Get("ETag")); response.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %s", name, response.Status)
		}
	}
	if response, _ := get(t, h, "/openapi/v3/apis/apps/v1?hash=OLD"); response.Header.Get("Location") != urls["apis/apps/v1"] {
		t.Errorf("an old hash leads to %q", response.Header.Get("Location"))
	}
	if response, _ := get(t, h, "/openapi/v3/apis/none/v1"); response.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown version: %s", response.Status)
	}
}

func TestV3SaysWhatKubectlNeeds(t *testing.T) {
	t.Parallel()
	h := newHandler(t)
	_, b := get(t, h, "/openapi/v3/apis/apps/v1")
	var document spec3.OpenAPI
	if err := json.Unmarshal(b, &document); err != nil {
		t.Fatal(err)
	}
	deployment := document.Components.Schemas["io.k8s.api.apps.v1.Deployment"]
	if deployment == nil || deployment.Extensions["x-kubernetes-group-version-kind"] == nil || deployment.Description == "" {
		t.Errorf("Deployment: %+v", deployment)
	}
	pod := document.Components.Schemas["io.k8s.api.core.v1.PodSpec"]
	containers := pod.Properties["containers"]
	if containers.Extensions["x-kubernetes-patch-merge-key"] != "name" || containers.Extensions["x-kubernetes-list-map-keys"] == nil {
		t.Errorf("containers: %+v", containers.Extensions)
	}
	item := document.Paths.Paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
	if item == nil || item.Patch == nil || item.Patch.Extensions["x-kubernetes-action"] != "patch" {
		t.Fatalf("patch: %+v", item)
	}
	var names []string
	for _, p := range item.Patch.Parameters {
		names = append(names, p.Name)
	}
	if got, want := strings.Join(names, " "), "dryRun fieldManager fieldValidation force"; got != want {
		t.Errorf("parameters %q, want %q", got, want)
	}
	if document.Paths.Paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"] == nil {
		t.Error("scale has no path")
	}
}

func TestV2(t *testing.T) {
	t.Parallel()
	h := newHandler(t)
	response, b := get(t, h, "/openapi/v2", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	var document openapi_v2.Document
	if err := proto.Unmarshal(b, &document); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %v", response.Status, err)
	}
	if n := len(document.Definitions.AdditionalProperties); n < 300 {
		t.Errorf("only %d definitions", n)
	}
	_, b = get(t, h, "/openapi/v2")
	if strings.Contains(string(b), "#/components") || strings.Contains(string(b), `"oneOf":[`) {
		t.Error("v3 forms are left in v2")
	}
}

func BenchmarkFirstDocument(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		get(b, newHandler(b), "/openapi/v3/apis/apps/v1")
	}
}
