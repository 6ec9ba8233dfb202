package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	k8saudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/headway-sh/headway/apiserver/rest"
)

// listener keeps what is told at one level.
type listener struct {
	level auditinternal.Level
	limit int

	mu      sync.Mutex // guards records
	records []rest.Record
}

func (l *listener) Judge(*rest.Record) rest.Judgement {
	return rest.Judgement{RequestAuditConfig: k8saudit.RequestAuditConfig{Level: l.level}, Limit: l.limit}
}

func (l *listener) Audit(_ context.Context, r rest.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
}

// completed is the last request's record at its end.
func (l *listener) completed(t *testing.T) rest.Record {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.records[len(l.records)-1]
	if last.Stage != auditinternal.StageResponseComplete {
		t.Fatalf("the last record is of stage %s", last.Stage)
	}
	return last
}

// serve answers a request in this goroutine, so that its record is complete.
func serve(t *testing.T, w *world, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Test-User", "alice")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	out := httptest.NewRecorder()
	w.handler.ServeHTTP(out, r)
	return out
}

// pick gives the values of an object at the paths; nil for none.
func pick(t *testing.T, b []byte, paths ...string) []any {
	t.Helper()
	var whole any
	if len(b) > 0 {
		if err := json.Unmarshal(b, &whole); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
	out := make([]any, len(paths))
	for i, path := range paths {
		at := whole
		for part := range strings.SplitSeq(path, ".") {
			if list, ok := at.([]any); ok && len(list) > 0 {
				at = list[0]
			}
			m, _ := at.(map[string]any)
			at = m[part]
		}
		out[i] = at
	}
	return out
}

func encoded(t *testing.T, o *corev1.ConfigMap) (inProtobuf, inCBOR string) {
	t.Helper()
	var p, c bytes.Buffer
	check(t, protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(o, &p))
	check(t, cborSerializer.Encode(o, &c))
	return p.String(), c.String()
}

func TestObjectsAreAuditedInJSON(t *testing.T) {
	heard := &listener{level: auditinternal.LevelRequestResponse, limit: 64 << 10}
	w := newWorld(t, func(c *rest.Config) { c.Auditor = heard })
	w.namespace("shop")
	const maps = "/api/v1/namespaces/shop/configmaps"
	inProtobuf, inCBOR := encoded(t, &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "m"}, Data: map[string]string{"k": "v"}})
	const inJSON = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"k":"v"}}`
	asked := []any{"ConfigMap", "v1", "m", "v"}
	whole := []string{"kind", "apiVersion", "metadata.name", "data.k"}
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		askedAt                  []string
		asked                    []any
		answeredAt               []string
		answered                 []any
	}{
		{"create JSON", "POST", maps + "?dryRun=All", inJSON, nil, whole, asked, whole, asked},
		{"create YAML", "POST", maps + "?dryRun=All", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {k: v}\n", []string{"Content-Type", "application/yaml", "Accept", "application/yaml"}, whole, asked, whole, asked},
		{"create protobuf", "POST", maps + "?dryRun=All", inProtobuf, []string{"Content-Type", "application/vnd.kubernetes.protobuf", "Accept", "application/vnd.kubernetes.protobuf"}, whole, asked, whole, asked},
		{"create CBOR", "POST", maps, inCBOR, []string{"Content-Type", mediaCBOR, "Accept", mediaCBOR}, whole, asked, whole, asked},
		{"get", "GET", maps + "/m", "", nil, whole, []any{nil, nil, nil, nil}, whole, asked},
		{"get protobuf", "GET", maps + "/m", "", []string{"Accept", "application/vnd.kubernetes.protobuf"}, nil, []any{}, whole, asked},
		{"get pretty", "GET", maps + "/m?pretty=true", "", nil, nil, []any{}, whole, asked},
		{"list", "GET", maps, "", nil, nil, []any{}, []string{"kind", "items.metadata.name"}, []any{"ConfigMapList", "m"}},
		{"list protobuf", "GET", maps, "", []string{"Accept", "application/vnd.kubernetes.protobuf"}, nil, []any{}, []string{"kind", "items.metadata.name"}, []any{"ConfigMapList", "m"}},
		{"list CBOR", "GET", maps, "", []string{"Accept", mediaCBOR}, nil, []any{}, []string{"kind", "items.metadata.name"}, []any{"ConfigMapList", "m"}},
		{"table", "GET", maps, "", []string{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}, nil, []any{}, []string{"kind", "rows.object.metadata.name"}, []any{"Table", "m"}},
		{"merge patch", "PATCH", maps + "/m", `{"data":{"k":"w"}}`, []string{"Content-Type", "application/merge-patch+json"}, []string{"data.k", "kind"}, []any{"w", nil}, []string{"data.k"}, []any{"w"}},
		{"JSON patch", "PATCH", maps + "/m", `[{"op":"replace","path":"/data/k","value":"x"}]`, []string{"Content-Type", "application/json-patch+json"}, []string{"path"}, []any{"/data/k"}, []string{"data.k"}, []any{"x"}},
		{"broken patch", "PATCH", maps + "/m", `{"data":`, []string{"Content-Type", "application/merge-patch+json"}, nil, []any{}, []string{"kind", "code"}, []any{"Status", 400.}},
		{"apply", "PATCH", maps + "/m?fieldManager=me&force=true", "apiVersion: v1\nkind: ConfigMap\ndata: {k: z}\n", []string{"Content-Type", "application/apply-patch+yaml"}, []string{"kind", "data.k"}, []any{"ConfigMap", "z"}, []string{"data.k"}, []any{"z"}},
		{"refused", "PUT", maps + "/m", strings.Replace(inJSON, `"v1"`, `"v1","immutable":3`, 1), nil, nil, []any{}, []string{"kind", "code"}, []any{"Status", 400.}},
		{"missing", "GET", maps + "/none", "", nil, nil, []any{}, []string{"kind", "reason"}, []any{"Status", "NotFound"}},
		{"delete", "DELETE", maps + "/m", `{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":3}`, nil, []string{"kind", "gracePeriodSeconds"}, []any{"DeleteOptions", 3.}, []string{"kind", "status"}, []any{"Status", "Success"}},
		{"delete all", "DELETE", maps, `{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Orphan"}`, nil, []string{"propagationPolicy"}, []any{"Orphan"}, []string{"kind"}, []any{"ConfigMapList"}},
		{"review", "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`, nil, []string{"kind", "status.userInfo.username"}, []any{"SelfSubjectReview", nil}, []string{"status.userInfo.username"}, []any{"alice"}},
	} {
		serve(t, w, c.method, c.path, c.body, c.header...)
		got := heard.completed(t)
		if diff := cmp.Diff(c.asked, pick(t, got.Asked, c.askedAt...)); diff != "" {
			t.Errorf("%s: asked (-want +got):\n%s%s", c.name, diff, got.Asked)
		}
		if diff := cmp.Diff(c.answered, pick(t, got.Answered, c.answeredAt...)); diff != "" {
			t.Errorf("%s: answered (-want +got):\n%s%s", c.name, diff, got.Answered)
		}
		if failed := got.Code >= 400; failed != (got.Status != nil && got.Status.Status == metav1.StatusFailure) {
			t.Errorf("%s: %d with %+v", c.name, got.Code, got.Status)
		}
	}
}

// TestNoObjectsWithoutBeingAsked also finds the object's own name.
func TestNoObjectsWithoutBeingAsked(t *testing.T) {
	for level, want := range map[auditinternal.Level][2]bool{
		auditinternal.LevelNone: {}, auditinternal.LevelMetadata: {}, auditinternal.LevelRequest: {true, false}, auditinternal.LevelRequestResponse: {true, true},
	} {
		heard := &listener{level: level, limit: 64 << 10}
		w := newWorld(t, func(c *rest.Config) { c.Auditor = heard })
		w.namespace("shop")
		serve(t, w, "POST", "/api/v1/namespaces/shop/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"}}`)
		got := heard.completed(t)
		if have := [2]bool{got.Asked != nil, got.Answered != nil}; have != want || got.Truncated {
			t.Errorf("%s: has objects %v, want %v", level, have, want)
		}
		if named := got.Name == "m"; named != (level != auditinternal.LevelNone) {
			t.Errorf("%s: named %q", level, got.Name)
		}
	}
}

func TestLargeObjectsAreNotAudited(t *testing.T) {
	heard := &listener{level: auditinternal.LevelRequestResponse, limit: 600}
	w := newWorld(t, func(c *rest.Config) { c.Auditor = heard })
	w.namespace("shop")
	const maps = "/api/v1/namespaces/shop/configmaps"
	for i, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		serve(t, w, "POST", maps, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m`+accept[12:13]+`"},"data":{"k":"`+strings.Repeat("x", 600)+`"}}`)
		if got := heard.completed(t); !got.Truncated || got.Asked != nil || got.Answered != nil || got.Code != http.StatusCreated {
			t.Errorf("create: truncated %v, %d, %s", got.Truncated, got.Code, got.Asked)
		}
		out := serve(t, w, "GET", maps, "", "Accept", accept)
		if got := heard.completed(t); !got.Truncated || got.Answered != nil || out.Body.Len() < 600*(i+1) {
			t.Errorf("list as %s: truncated %v, %d bytes", accept, got.Truncated, out.Body.Len())
		}
	}
}

// TestStreamsAreAuditedWhenTheyBegin finds the stage ResponseStarted once.
func TestStreamsAreAuditedWhenTheyBegin(t *testing.T) {
	heard := &listener{level: auditinternal.LevelMetadata}
	w := newWorld(t, func(c *rest.Config) { c.Auditor, c.Connector = heard, connector{} })
	w.namespace("shop")
	serve(t, w, "POST", "/api/v1/namespaces/shop/pods", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	for path, want := range map[string][]auditinternal.Stage{
		"/api/v1/namespaces/shop/pods?watch=1&timeoutSeconds=1&resourceVersion=1000000": {"RequestReceived", "ResponseStarted", "ResponseComplete"},
		"/api/v1/namespaces/shop/pods/p/log":                                            {"RequestReceived", "ResponseStarted", "ResponseComplete"},
		"/api/v1/namespaces/shop/pods/p":                                                {"RequestReceived", "ResponseComplete"},
	} {
		heard.records = nil
		serve(t, w, "GET", path, "")
		var got []auditinternal.Stage
		for _, r := range heard.records {
			got = append(got, r.Stage)
			if r.Stage == auditinternal.StageResponseStarted && r.Code == 0 {
				t.Errorf("%s began with no code", path)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// BenchmarkAuditLevels shows what a level costs: None and Metadata cost no
// encoding.
func BenchmarkAuditLevels(b *testing.B) {
	for _, level := range []auditinternal.Level{"", auditinternal.LevelNone, auditinternal.LevelMetadata, auditinternal.LevelRequest, auditinternal.LevelRequestResponse} {
		name := string(level)
		if level == "" {
			name = "NoAuditor"
		}
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, func(c *rest.Config) {
				if level != "" {
					c.Auditor = deaf{&listener{level: level, limit: 1 << 20}}
				}
			})
			fill(b, w, 1)
			pod, err := json.Marshal(benchPod(0))
			check(b, err)
			for verb, path := range map[string]string{http.MethodGet: "/api/v1/namespaces/bench/pods/web-00000", http.MethodPut: "/api/v1/namespaces/bench/pods/web-00000?dryRun=All"} {
				b.Run(verb, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						r := httptest.NewRequest(verb, path, nil)
						if verb == http.MethodPut {
							r = httptest.NewRequest(verb, path, bytes.NewReader(pod))
						}
						r.Header.Set("Test-User", "alice")
						w.handler.ServeHTTP(&discard{header: http.Header{}}, r)
					}
				})
			}
		})
	}
}

// deaf judges and keeps nothing.
type deaf struct{ *listener }

func (deaf) Audit(context.Context, rest.Record) {}
