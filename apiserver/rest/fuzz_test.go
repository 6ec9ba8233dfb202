package rest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

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

// FuzzBody checks that no body in any form makes a decoder fall over, and that
// what is decoded is of the kind that was asked for.
func FuzzBody(f *testing.F) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		f.Fatal(err)
	}
	c := newCodec(scheme)
	medias := []string{mediaJSON, mediaYAML, mediaProtobuf, mediaCBOR}
	f.Add([]byte(`{"kind":"ConfigMap","apiVersion":"v1","data":{"a":"b"}}`), uint8(0))
	f.Add([]byte("kind: ConfigMap\napiVersion: v1\nbinaryData: {a: YQ==}\na: &a [*a]\n"), uint8(1))
	f.Add([]byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x00"), uint8(2))
	f.Add([]byte("\xa2\x64kind\x69ConfigMap\x6aapiVersion\x62v1"), uint8(3))
	f.Add([]byte("kind: ConfigMap\napiVersion: v1\n--- \na: &a x\nb: *a\n---\n"), uint8(1))
	f.Add([]byte("k8s\x00\x12\x06\x0a\x04\x0a\x02\x0a\x00\x7b\x0d\x01\x02\x03\x04"), uint8(2))
	gvk := corev1.SchemeGroupVersion.WithKind("ConfigMap")
	f.Fuzz(func(t *testing.T, body []byte, form uint8) {
		media := medias[int(form)%len(medias)]
		for _, validation := range []string{metav1.FieldValidationIgnore, metav1.FieldValidationWarn, metav1.FieldValidationStrict} {
			o, err := c.decode(body, media, gvk, nil, validation, func(string) {})
			if err != nil {
				continue
			}
			if _, ok := o.(*corev1.ConfigMap); !ok {
				t.Errorf("%s decoded %q as a %T", media, body, o)
			}
		}
		_, _ = c.deleteOptions(body, media, corev1.SchemeGroupVersion.WithKind("DeleteOptions")) // must only not fall over
	})
}

// FuzzApply does the same for what is applied.
func FuzzApply(f *testing.F) {
	f.Add([]byte("kind: ConfigMap\napiVersion: v1\ndata: {a: b, a: c}\n"), false)
	f.Add([]byte("\xa2\x64kind\x69ConfigMap\x6aapiVersion\x62v1"), true)
	f.Fuzz(func(t *testing.T, body []byte, cbor bool) {
		media := types.ApplyYAMLPatchType
		if cbor {
			media = types.ApplyCBORPatchType
		}
		o, err := applied(httptest.NewRecorder(), body, media, metav1.FieldValidationWarn)
		if err == nil && o.GetObjectKind().GroupVersionKind().Kind == "" {
			t.Errorf("%q was taken without a kind", body)
		}
	})
}

// FuzzAccept checks that negotiation answers every header with something that
// is served.
func FuzzAccept(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf;q=0.5,*/*;q=0.1")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", header)
		a, err := negotiate(r, true)
		if err == nil && !slices.Contains([]string{mediaJSON, mediaYAML, mediaProtobuf, mediaCBOR}, a.media) {
			t.Errorf("%q is answered with %q", header, a.media)
		}
	})
}
