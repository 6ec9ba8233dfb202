package apiserver_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// exactly sends a request whose path is on the wire as it is written here, and
// follows nothing.
func (p peer) exactly(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	base, err := url.Parse(p.url)
	check(t, err)
	opaque, query, _ := strings.Cut(path, "?")
	r := &http.Request{Method: method, URL: &url.URL{Scheme: base.Scheme, Host: base.Host, Opaque: opaque, RawQuery: query}, Header: http.Header{}}
	if body != "" {
		r.Header.Set("Content-Type", asJSON)
		if method == http.MethodPatch {
			r.Header.Set("Content-Type", mergePatch)
		}
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	response, err := p.http.Transport.RoundTrip(r.WithContext(t.Context()))
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(text)
}

// TestHostilePaths puts what could leave its place into every segment of every
// sort of path: each is refused, nothing is written, and nothing of what others
// have is in the answer.
func TestHostilePaths(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	_, err := s.widgets().Create(t.Context(), widget(t, "w", "{size: 3}"), metav1.CreateOptions{})
	check(t, err)
	root := personPeer(t, s.server, "root", "system:masters")
	const hidden = "what-only-its-owner-reads"
	for _, path := range []string{"/api/v1/namespaces/default/secrets", "/api/v1/namespaces/kube-system/secrets"} {
		code, text := root.exactly(t, "POST", path, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"hidden"},"stringData":{"a":"`+hidden+`"}}`)
		if code != http.StatusCreated {
			t.Fatalf("%d %s", code, text)
		}
	}
	paths := map[string]string{
		"version":                 "/api/%s/namespaces/default/secrets",
		"namespace, list":         "/api/v1/namespaces/%s/secrets",
		"namespace, object":       "/api/v1/namespaces/%s/secrets/hidden",
		"namespace itself":        "/api/v1/namespaces/%s",
		"namespace's subresource": "/api/v1/namespaces/%s/finalize",
		"resource":                "/api/v1/namespaces/default/%s",
		"resource of object":      "/api/v1/namespaces/default/%s/hidden",
		"cluster resource":        "/api/v1/%s",
		"name":                    "/api/v1/namespaces/default/secrets/%s",
		"cluster name":            "/api/v1/nodes/%s",
		"name before subresource": "/api/v1/nodes/%s/status",
		"subresource":             "/api/v1/namespaces/default/pods/p/%s",
		"beyond":                  "/api/v1/namespaces/default/pods/p/status/%s",
		"log":                     "/api/v1/namespaces/default/pods/%s/log",
		"log's namespace":         "/api/v1/namespaces/%s/pods/p/log",
		"exec":                    "/api/v1/namespaces/default/pods/%s/exec?command=sh",
		"exec's namespace":        "/api/v1/namespaces/%s/pods/p/exec?command=sh",
		"attach":                  "/api/v1/namespaces/default/pods/%s/attach",
		"port-forward":            "/api/v1/namespaces/default/pods/%s/portforward",
		"proxied node":            "/api/v1/nodes/%s/proxy/pods",
		"proxied pod":             "/api/v1/namespaces/default/pods/%s/proxy/",
		"proxied pod's namespace": "/api/v1/namespaces/%s/pods/p/proxy/",
		"proxied service":         "/api/v1/namespaces/default/services/%s/proxy/",
		"group":                   "/apis/%s/v1/namespaces/default/widgets",
		"group's version":         "/apis/shop.example.com/%s/namespaces/default/widgets",
		"custom namespace":        "/apis/shop.example.com/v1/namespaces/%s/widgets",
		"custom resource":         "/apis/shop.example.com/v1/namespaces/default/%s",
		"custom name":             widgetsPath + "/%s",
		"custom subresource":      widgetsPath + "/w/%s",
		"definition":              crdsPath + "/%s",
		"watch":                   "/api/v1/watch/namespaces/%s/secrets?timeoutSeconds=1",
		"OpenAPI":                 "/openapi/v3/%s",
		"transactions":            "/apis/txn.headway.sh/v1/%s",
	}
	segments := map[string]string{
		"dots": "..", "dot": ".", "escaped dots": "%2e%2e", "escaped dot": "%2e", "twice escaped dots": "%252e%252e",
		"empty": "", "slash": "a%2fb", "way out": "..%2f..%2fkube-system%2fsecrets", "way out in dots": "%2e%2e/kube-system", "root": "%2f",
		"backslash": "..%5c..", "NUL": "a%00b", "newline": "a%0ab", "half a rune": "%c3", "300 long": strings.Repeat("a", 300),
		"10,000 long": strings.Repeat("a", 10_000),
	}
	before := revision(t, s.server)
	for at, path := range paths {
		for what, segment := range segments {
			for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "POST"} {
				if segment == "" && strings.HasSuffix(path, "/%s") {
					continue // a slash at the end stands for nothing
				}
				body := ""
				if method != "GET" && method != "DELETE" {
					body = `{"metadata":{"labels":{"a":"b"}}}`
				}
				code, text := root.exactly(t, method, fmt.Sprintf(path, segment), body)
				switch code {
				case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType:
				default:
					t.Errorf("%s %s: %s: %d %.200s", method, at, what, code, text)
				}
				if strings.Contains(text, hidden) || len(text) > 64<<10 {
					t.Errorf("%s %s: %s answers %.200s", method, at, what, text)
				}
			}
		}
	}
	if after := revision(t, s.server); after != before {
		t.Errorf("the store went from revision %d to %d", before, after)
	}
}
