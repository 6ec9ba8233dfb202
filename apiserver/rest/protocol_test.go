package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/rest"
	"github.com/headway-sh/headway/apiserver/write"
)

func read(t *testing.T, response *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(response.Body)
	check(t, err)
	return string(b)
}

// notAllowed is what Kubernetes says of a method that a resource does not have.
const notAllowed = `"status":"Failure","message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405`

func TestProtocol(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	long := strings.Repeat("a", 300)
	deep := strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000)
	for _, test := range []struct {
		name, method, path, body string
		header                   []string
		code                     int
		want                     string
	}{
		{name: "dots", path: "/api/v1/namespaces/../secrets", code: 400, want: "is not a name"},
		{name: "encoded dots", path: "/api/v1/namespaces/%2e%2e/secrets", code: 400, want: "is not a name"},
		{name: "one dot", path: "/api/v1/namespaces/%2E/secrets", code: 400, want: "is not a name"},
		{name: "encoded slash", path: "/api/v1/namespaces/shop%2F..%2Fother/secrets", code: 400, want: "character"},
		{name: "double encoding", path: "/api/v1/namespaces/%252e%252e/secrets", code: 400, want: "character"},
		{name: "empty segment", path: "/api/v1/namespaces//secrets", code: 400, want: "empty segment"},
		{name: "null byte", path: "/api/v1/namespaces/shop/secrets/a%00b", code: 400, want: "character"},
		{name: "long name", path: "/api/v1/namespaces/shop/secrets/" + long, code: 404, want: "not found"},
		{name: "long namespace", path: "/api/v1/namespaces/" + long + "/secrets", code: 400, want: `at most 253 bytes`},
		{name: "very long name", path: "/api/v1/namespaces/shop/secrets/" + strings.Repeat(long, 5), code: 400, want: "longer"},
		{name: "unknown resource", path: "/api/v1/namespaces/shop/nonsense", code: 404, want: "404 page not found"},
		{name: "unknown group", path: "/apis/x.y/v1/things", code: 404, want: "404 page not found"},
		{name: "unknown path", path: "/nonsense", code: 404, want: "404 page not found"},
		{name: "cluster scope", path: "/api/v1/namespaces/shop/nodes", code: 404, want: "404 page not found"},
		{name: "unknown subresource", path: maps + "/a/status", code: 404, want: "404 page not found"},
		{name: "name without namespace", path: "/api/v1/configmaps/a", code: 404, want: "404 page not found"},
		{name: "not found", path: maps + "/a", code: 404, want: `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"a\" not found","reason":"NotFound","details":{"name":"a","kind":"configmaps"},"code":404`},
		{name: "create without namespace", method: "POST", path: "/api/v1/configmaps", body: "{}", code: 405, want: "MethodNotAllowed"},
		{name: "method", method: "OPTIONS", path: maps, code: 405, want: notAllowed},
		{name: "method of an object", method: "POST", path: maps + "/a", code: 405, want: notAllowed},
		{name: "method of a collection", method: "PUT", path: maps, code: 405, want: notAllowed},
		{name: "method of a namespace's collection", method: "DELETE", path: "/api/v1/namespaces", code: 405, want: notAllowed},
		{name: "method of a subresource", method: "DELETE", path: "/api/v1/nodes/n/status", code: 405, want: notAllowed},
		{name: "method of a review", path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", code: 405, want: notAllowed},
		{name: "unknown method", method: "BREW", path: maps, code: 405, want: notAllowed},
		{name: "accept", path: maps, header: []string{"Accept", "text/html"}, code: 406, want: "only the following media types are accepted"},
		{name: "protobuf table", path: maps, header: []string{"Accept", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io"}, code: 406, want: "NotAcceptable"},
		{name: "content type", method: "POST", path: maps, body: "{}", header: []string{"Content-Type", "text/html"}, code: 415, want: "UnsupportedMediaType"},
		{name: "patch type", method: "PATCH", path: maps + "/a", body: "{}", header: []string{"Content-Type", "application/json"}, code: 415, want: "application/apply-patch+yaml"},
		{name: "body limit", method: "POST", path: maps, body: strings.Repeat(" ", 3<<20+1), code: 413, want: "limit is 3145728"},
		{name: "depth", method: "POST", path: maps, body: deep, code: 400, want: "nested deeper"},
		{name: "patch operations", method: "PATCH", path: maps + "/a", body: "[" + strings.Repeat("{},", 10_000) + "{}]", header: []string{"Content-Type", "application/json-patch+json"}, code: 413, want: "maximum operations in a JSON patch is 10000, got 10001"},
		{name: "apply without manager", method: "PATCH", path: maps + "/a", body: `{"apiVersion":"v1","kind":"ConfigMap"}`, header: []string{"Content-Type", "application/apply-patch+yaml"}, code: 422, want: "fieldManager"},
		{name: "force without apply", method: "PATCH", path: maps + "/a?force=true", body: `{}`, header: []string{"Content-Type", "application/merge-patch+json"}, code: 422, want: "may not be specified for non-apply patch"},
		{name: "unknown field strict", method: "POST", path: maps + "?fieldValidation=Strict", body: `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"spec":1,"data":{"a":"1","a":"2"}}`, code: 400,
			want: `ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"spec\", duplicate field \"data.a\"`},
		{name: "bad field validation", method: "POST", path: maps + "?fieldValidation=Maybe", body: "{}", code: 422, want: "fieldValidation"},
		{name: "bad dry run", method: "POST", path: maps + "?dryRun=Some", body: "{}", code: 422, want: "dryRun"},
		{name: "no JSON", method: "POST", path: maps, body: "nonsense", code: 400, want: "the object provided is unrecognized (must be of type ConfigMap)"},
		{name: "other version", method: "POST", path: maps, body: `{"kind":"ConfigMap","apiVersion":"v2"}`, code: 400, want: "v2"},
		{name: "other kind", method: "POST", path: maps, body: `{"kind":"Secret","apiVersion":"v1"}`, code: 400, want: "cannot be handled as a ConfigMap"},
		{name: "field label", path: maps + "?fieldSelector=spec.foo%3Dbar", code: 400, want: `\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"`},
		{name: "label selector", path: maps + "?labelSelector=a%20b%20c", code: 400, want: "unable to parse requirement"},
		{name: "continue", path: maps + "?limit=1&continue=nonsense", code: 400, want: "continue key is not valid"},
		{name: "revision", path: maps + "?resourceVersion=abc", code: 422, want: "resourceVersion"},
		{name: "future revision", path: maps + "?resourceVersion=99999", code: 504, want: "Too large resource version: 99999"},
		{name: "match without revision", path: maps + "?resourceVersionMatch=Exact", code: 422, want: "resourceVersionMatch is forbidden unless resourceVersion is provided"},
	} {
		t.Run(test.name, func(t *testing.T) {
			method := test.method
			if method == "" {
				method = http.MethodGet
			}
			response := w.request(method, test.path, test.body, test.header...)
			body := read(t, response)
			if response.StatusCode != test.code || !strings.Contains(body, test.want) {
				t.Errorf("%d %s\nwant %d %s", response.StatusCode, body, test.code, test.want)
			}
		})
	}
}

func TestYAML(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	response := w.request(http.MethodPost, maps, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: m}\ndata: {a: b}\nfoo: 1\n",
		"Content-Type", "application/yaml", "Accept", "application/yaml")
	contains(t, read(t, response), "kind: ConfigMap\n", "  a: b\n")
	if got, want := response.Header.Get("Warning"), `299 - "unknown field \"foo\""`; got != want {
		t.Errorf("warning %s, want %s", got, want)
	}
	contains(t, read(t, w.get(maps, "Accept", "application/yaml")), "kind: ConfigMapList", "- data:")
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	if response := w.request(http.MethodPost, maps, bomb, "Content-Type", "application/yaml"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("an expanding document: %s", response.Status)
	}
}

func TestChunks(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	c := w.client("alice").CoreV1().ConfigMaps("shop")
	for i := range 5 {
		_, err := c.Create(t.Context(), configMap(fmt.Sprint("m", i)), metav1.CreateOptions{})
		check(t, err)
	}
	first, err := c.List(t.Context(), metav1.ListOptions{Limit: 2})
	check(t, err)
	if len(first.Items) != 2 || first.Continue == "" || first.RemainingItemCount == nil || *first.RemainingItemCount != 3 {
		t.Fatalf("first chunk %+v", first.ListMeta)
	}
	check(t, c.Delete(t.Context(), "m3", metav1.DeleteOptions{}))
	second, err := c.List(t.Context(), metav1.ListOptions{Limit: 10, Continue: first.Continue})
	check(t, err)
	if len(second.Items) != 3 || second.ResourceVersion != first.ResourceVersion || second.Continue != "" {
		t.Errorf("the rest must be of the first chunk's revision: %d of %s, first was %s", len(second.Items), second.ResourceVersion, first.ResourceVersion)
	}
	exact, err := c.List(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	check(t, err)
	if len(exact.Items) != 5 {
		t.Errorf("exact list has %d", len(exact.Items))
	}
	now, err := c.List(t.Context(), metav1.ListOptions{})
	check(t, err)
	if err := w.backend.Compact(t.Context(), mustRevision(now.ResourceVersion)); err != nil {
		t.Fatal(err)
	}
	w.restart()
	response := w.get(maps + "?limit=1&continue=" + first.Continue)
	var status metav1.Status
	check(t, json.Unmarshal([]byte(read(t, response)), &status))
	if status.Code != http.StatusGone || status.Reason != metav1.StatusReasonExpired || status.Continue == "" {
		t.Fatalf("old token: %+v", status)
	}
	rest, err := c.List(t.Context(), metav1.ListOptions{Continue: status.Continue})
	check(t, err)
	if len(rest.Items) != 2 {
		t.Errorf("the inconsistent rest has %d", len(rest.Items))
	}
}

func mustRevision(text string) (n int64) {
	if _, err := fmt.Sscan(text, &n); err != nil {
		panic(err)
	}
	return n
}

func TestIdentity(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	w.denied = func(identity txn.Identity, a write.Attributes) bool {
		switch {
		case a.Verb == "impersonate":
			return identity.Name != "admin" || a.Name == "system:masters"
		case a.Resource.Resource == "configmaps":
			return identity.Name == "bob"
		}
		return false
	}
	for _, test := range []struct {
		name, path string
		header     []string
		code       int
		want       string
	}{
		{"anonymous", maps, []string{"Test-User", ""}, 401, `"reason":"Unauthorized","code":401`},
		{"anonymous health", "/readyz", []string{"Test-User", ""}, 200, "ok"},
		{"anonymous version", "/version", []string{"Test-User", ""}, 200, "v1.37.0+headway"},
		{"anonymous discovery", "/apis", []string{"Test-User", ""}, 401, "Unauthorized"},
		{"forbidden", maps, []string{"Test-User", "bob"}, 403, `configmaps is forbidden: User \"bob\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"shop\"`},
		{"as bob", maps, []string{"Test-User", "admin", "Impersonate-User", "bob"}, 403, `User \"bob\" cannot list`},
		{"as carol", maps, []string{"Test-User", "admin", "Impersonate-User", "carol"}, 200, "items"},
		{"may not impersonate", maps, []string{"Test-User", "carol", "Impersonate-User", "admin"}, 403, `User \"carol\" cannot impersonate resource \"users\"`},
		{"group refused", maps, []string{"Test-User", "admin", "Impersonate-User", "carol", "Impersonate-Group", "system:masters"}, 403, `cannot impersonate resource \"groups\"`},
		{"group alone", maps, []string{"Test-User", "admin", "Impersonate-Group", "x"}, 400, "together with a user"},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := w.get(test.path, test.header...)
			body := read(t, response)
			if response.StatusCode != test.code || !strings.Contains(body, test.want) {
				t.Errorf("%d %s\nwant %d %s", response.StatusCode, body, test.code, test.want)
			}
		})
	}
}

func TestReviews(t *testing.T) {
	w := newWorld(t)
	w.denied = func(identity txn.Identity, a write.Attributes) bool { return identity.Name == "bob" }
	authorization := "/apis/authorization.k8s.io/v1/"
	for _, test := range []struct{ name, path, body, want string }{
		{"self", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`, `"username":"alice"`},
		{"token", "/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"t"}}`, `"authenticated":true,"user":{"username":"token-owner"}`},
		{"own access", authorization + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`, `"allowed":true`},
		{"access", authorization + "subjectaccessreviews", `{"spec":{"user":"bob","resourceAttributes":{"verb":"get","resource":"pods"}}}`, `"allowed":false`},
		{"local", authorization + "namespaces/shop/localsubjectaccessreviews", `{"spec":{"user":"bob","resourceAttributes":{"verb":"get","resource":"pods"}}}`, `"code":422`},
		{"rules", authorization + "selfsubjectrulesreviews", `{"spec":{"namespace":"shop"}}`, `"resourceRules":[{"verbs":["*"]`},
		{"nothing asked", authorization + "selfsubjectaccessreviews", `{}`, `"code":422`},
	} {
		t.Run(test.name, func(t *testing.T) {
			contains(t, read(t, w.request(http.MethodPost, test.path, test.body)), test.want)
		})
	}
}

func TestHealth(t *testing.T) {
	broken := fmt.Errorf("the store is away")
	w := newWorld(t, func(c *rest.Config) {
		c.Checks = []rest.Check{{Name: "store", Check: func(context.Context) error { return broken }},
			{Name: "poststarthook/loop", Live: true, Check: func(context.Context) error { return nil }}}
	})
	for _, test := range []struct{ user, path, want string }{
		{"", "/livez", "200 ok"},
		{"", "/livez?verbose", "200 [+]ping ok\n[+]poststarthook/loop ok\nlivez check passed\n"},
		{"", "/healthz/?verbose=1", "200 [+]ping ok\n[+]poststarthook/loop ok\nhealthz check passed\n"},
		{"", "/readyz", "500 [+]ping ok\n[-]store failed: reason withheld\n[+]poststarthook/loop ok\nreadyz check failed\n"},
		{"", "/readyz?exclude=store", "200 ok"},
		{"", "/readyz?verbose&exclude=store&exclude=ping", "200 [+]ping excluded: ok\n[+]store excluded: ok\n[+]poststarthook/loop ok\nreadyz check passed\n"},
		{"", "/livez?verbose&exclude=store&exclude=mine&exclude=mine", "200 [+]ping ok\n[+]poststarthook/loop ok\n" +
			"warn: some health checks cannot be excluded: no matches for \"mine\", \"store\"\nlivez check passed\n"},
		{"jane", "/readyz/poststarthook/loop", "200 ok"},
		{"jane", "/readyz/store", "500 internal server error: the store is away\n"},
		{"jane", "/livez/store", "404 404 page not found\n"},
		{"jane", "/readyz/none", "404 404 page not found\n"},
	} {
		response := w.get(test.path, "Test-User", test.user)
		if got := fmt.Sprintf("%d %s", response.StatusCode, read(t, response)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.path, got, test.want)
		}
	}
	if got := w.get("/readyz/store", "Test-User", "").StatusCode; got != http.StatusUnauthorized {
		t.Errorf("nobody hears why a check fails: %d", got)
	}
}
