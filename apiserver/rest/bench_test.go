package rest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/store"
)

func benchPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-%05d", i), Namespace: "bench", UID: "0f0e0d0c-1111-2222-3333-444455556666",
			Labels: map[string]string{"app": "web", "tier": "front"}},
		Spec: corev1.PodSpec{NodeName: fmt.Sprint("node-", i%100), Containers: []corev1.Container{{Name: "web", Image: "registry.example/web:1.2.3",
			Env: []corev1.EnvVar{{Name: "PORT", Value: "8080"}}, Ports: []corev1.ContainerPort{{ContainerPort: 8080, Protocol: "TCP"}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{{Type: "Ready", Status: "True"}}},
	}
}

func fill(b *testing.B, w *world, n int) {
	b.Helper()
	for i := 0; i < n; i += 500 {
		var t store.Txn
		for j := i; j < min(i+500, n); j++ {
			p := benchPod(j)
			t.Writes = append(t.Writes, store.Write{Ref: txn.Ref{Resource: corev1.Resource("pods"), Namespace: p.Namespace, Name: p.Name}, Object: p})
		}
		_, err := w.store.Txn(b.Context(), t)
		check(b, err)
	}
}

// discard is a response that counts.
type discard struct {
	header http.Header
	n      int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(b []byte) (int, error) {
	d.n += len(b)
	return len(b), nil
}

func BenchmarkList10000Pods(b *testing.B) {
	w := newWorld(b)
	fill(b, w, 10_000)
	for name, header := range map[string]http.Header{
		"json":     {"Accept": {"application/json"}},
		"protobuf": {"Accept": {"application/vnd.kubernetes.protobuf"}},
		"gzip":     {"Accept": {"application/json"}, "Accept-Encoding": {"gzip"}},
		"table":    {"Accept": {"application/json;as=Table;v=v1;g=meta.k8s.io"}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, "/api/v1/pods?resourceVersion=0", nil)
				r.Header = header.Clone()
				r.Header.Set("Test-User", "alice")
				out := &discard{header: http.Header{}}
				w.handler.ServeHTTP(out, r)
				b.SetBytes(int64(out.n))
			}
		})
	}
}

// BenchmarkWatchFanOut is one event to a hundred watchers over loopback.
func BenchmarkWatchFanOut(b *testing.B) {
	const watchers = 100
	w := newWorld(b)
	fill(b, w, 1)
	var bodies []io.ReadCloser
	for range watchers {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, w.server.URL+"/api/v1/pods?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", nil)
		check(b, err)
		r.Header.Set("Test-User", "alice")
		response, err := http.DefaultClient.Do(r)
		check(b, err)
		defer response.Body.Close()
		bodies = append(bodies, response.Body)
	}
	ref := txn.Ref{Resource: corev1.Resource("pods"), Namespace: "bench", Name: "web-00000"}
	buffer := make([]byte, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		e := w.store.Snapshot().Entry(ref)
		_, err := w.store.Txn(b.Context(), store.Txn{Writes: []store.Write{{Ref: ref, Object: benchPod(0), Expect: e.Revision}}})
		check(b, err)
		for _, body := range bodies {
			_, err := body.Read(buffer)
			check(b, err)
		}
	}
}
