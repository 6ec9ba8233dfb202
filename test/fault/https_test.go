package fault_test

import (
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// TestHTTPSSource follows a repository behind git's own HTTP server, with a
// token and an authority of its own, by polling; the report goes back the same
// way, and the server may be away for a while.
func TestHTTPSSource(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.git(r.bare(), "config", "http.receivepack", "true")
	backend := strings.TrimSpace(output(t, "git", "--exec-path")) + "/git-http-backend"
	handler := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + r.dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=headway"}}
	var away atomic.Bool
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, password, ok := q.BasicAuth()
		switch {
		case away.Load():
			http.Error(w, "maintenance", http.StatusServiceUnavailable)
		case !ok || password != "s3cret":
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
		default:
			handler.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(web.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})

	r.write("a.yaml", configMap("a", "one"))
	first := r.push("first")
	s := controlPlane(t)
	check(t, s.client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "token"}, Data: map[string][]byte{"token": []byte("s3cret")}}))
	check(t, s.client.Create(t.Context(), &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1alpha1.GitSourceSpec{
		URL: web.URL + "/cluster.git", CABundle: authority, Interval: &metav1.Duration{Duration: 5 * time.Second},
		SecretRef: &v1alpha1.SecretReference{Namespace: "kube-system", Name: "token"},
	}}))
	s.awaitPhase("web", first, v1alpha1.ReleaseHealthy)
	s.awaitValues("one", "a")
	eventually(t, "the report over HTTPS", func() string {
		if status := r.report("STATUS.md"); !strings.Contains(status, "web: Synced, Healthy") {
			return status
		}
		return ""
	})

	away.Store(true)
	eventually(t, "the source says so", func() string {
		for _, c := range s.source("web").Status.Conditions {
			if c.Type == v1alpha1.ConditionFetched && c.Status == metav1.ConditionFalse {
				return ""
			}
		}
		return "it has not noticed"
	})
	r.write("a.yaml", configMap("a", "two"))
	second := r.push("second")
	if got := s.values("a"); got != "one" {
		t.Errorf("a is %s", got)
	}
	away.Store(false)
	s.awaitPhase("web", second, v1alpha1.ReleaseHealthy)
	s.awaitValues("two", "a")
	// The token is in no file of the data directory but etcd's.
	check(t, filepath.WalkDir(filepath.Join(s.dir, "git"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), "s3cret") {
			t.Errorf("the token is in %s", path)
		}
		return nil
	}))
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	check(t, err)
	return string(out)
}
