package rest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// FuzzPath checks that no path that is let through names anything but whole,
// harmless segments.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/api/v1/pods", "/api/v1/namespaces/a/pods/b/log", "/apis/apps/v1/namespaces/%2e%2e/x", "//", "/api/v1/watch/pods",
		"/api/v1/nodes/n/proxy/../../x", "/api/v1/namespaces/a/services/s/proxy/%2e%2e/y", "/api/v1/namespaces/a/status"} {
		f.Add(seed, "GET")
	}
	f.Fuzz(func(t *testing.T, path, method string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		info, err := ParseRequest(&http.Request{Method: method, URL: u})
		if err != nil {
			return
		}
		for _, part := range []string{info.Group, info.Version, info.Namespace, info.Resource, info.Name} {
			if part == "." || part == ".." || strings.ContainsAny(part, "/%\\\x00") || len(part) > maxSegment {
				t.Errorf("%q names %q", path, part)
			}
		}
		if info.IsResource && (info.Resource == "" || info.Version == "") {
			t.Errorf("%q is a resource without a name: %+v", path, info)
		}
	})
}

// things is a namespaced kind with one field.
func things() *kind.Kind {
	return &kind.Kind{
		GVK: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Plural: "configmaps", Namespaced: true,
		New: func() txn.Object { return &corev1.ConfigMap{} }, NewList: func() runtime.Object { return &corev1.ConfigMapList{} },
		Fields: map[string]func(txn.Object) string{"immutable": func(txn.Object) string { return "false" }},
	}
}

// FuzzContinue checks that any token is refused or names a place between the
// kind's own objects, and that the server's own tokens come back as they were.
func FuzzContinue(f *testing.F) {
	k := things()
	f.Add(encodeContinue(k, place{revision: 7, after: k.Ref("a", "b"), begun: time.Unix(1, 0)}))
	f.Add("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9zZWNyZXRzL2EifQ")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := decodeContinue(k, token)
		if err != nil {
			return
		}
		if after := p.after; after.Resource != k.Resource() || strings.ContainsAny(after.Namespace+after.Name, "/\x00") || after.Namespace == ".." || after.Name == ".." {
			t.Errorf("%q names %v", token, after)
		}
		again, err := decodeContinue(k, encodeContinue(k, *p))
		if err != nil || again.revision != p.revision || again.after != p.after || !again.begun.Equal(p.begun) {
			t.Errorf("%+v came back as %+v: %v", p, again, err)
		}
	})
}

// FuzzSelector checks that what parses can be matched, and that no selector
// matches what another namespace has.
func FuzzSelector(f *testing.F) {
	f.Add("a=b,c in (d,e),!f", "metadata.name=x,immutable!=true")
	f.Add("", "metadata.namespace=other")
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "other", Labels: map[string]string{"a": "b"}}}
	f.Fuzz(func(t *testing.T, labels, fields string) {
		s, err := newSelector(things(), "mine", "", labels, fields)
		if err == nil && s.matches(o) {
			t.Errorf("%q %q in namespace mine match an object of another", labels, fields)
		}
	})
}
