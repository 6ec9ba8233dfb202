package fault_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
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
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	var asked atomic.Int64
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
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
	// From then on it is asked when the forge calls, and a forged call does
	// nothing.
	check(t, s.client.Patch(t.Context(), &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, client.RawPatch("application/merge-patch+json",
		[]byte(`{"spec":{"interval":"24h","webhook":{"type":"github","secretRef":{"namespace":"kube-system","name":"hook"}}}}`))))
	check(t, s.client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "hook"}, Data: map[string][]byte{"token": []byte("sesame")}}))
	quiet, last := 0, int64(0)
	eventually(t, "the new interval counts", func() string {
		if o := s.source("web"); o.Status.ObservedGeneration != o.Generation {
			return "not yet"
		}
		if now := asked.Load(); now != last { // as it is once more, to begin with
			quiet, last = 0, now
		}
		if quiet++; quiet < 75 {
			return "the remote is asked"
		}
		return ""
	})
	r.write("a.yaml", configMap("a", "three"))
	third := r.push("third")
	before := asked.Load()
	body := `{"ref":"refs/heads/main","after":"` + third + `"}`
	for name, key := range map[string]string{"another key": "guess", "no key": ""} {
		if status := s.calls("web", body, key); status != http.StatusUnauthorized {
			t.Errorf("a call with %s is answered %d", name, status)
		}
	}
	if status := s.calls("nobody", body, "sesame"); status != http.StatusUnauthorized {
		t.Errorf("a call for no source is answered %d", status)
	}
	if got := s.values("a"); got != "two" || asked.Load() != before {
		t.Errorf("after forged calls a is %s, and the remote was asked %d times", got, asked.Load()-before)
	}
	if status := s.calls("web", body, "sesame"); status != http.StatusAccepted {
		t.Errorf("the forge's call is answered %d", status)
	}
	s.awaitPhase("web", third, v1alpha1.ReleaseHealthy)
	s.awaitValues("three", "a")
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

// calls calls the server as GitHub does of a push, from a stranger's machine.
func (s *server) calls(source, body, key string) int {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.config.CAData)
	web := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: s.config.ServerName}}}
	q, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.config.Host+"/hooks/"+source, strings.NewReader(body))
	check(s.t, err)
	q.Header.Set("X-GitHub-Event", "push")
	if key != "" {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(body))
		q.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	answer, err := web.Do(q)
	check(s.t, err)
	check(s.t, answer.Body.Close())
	return answer.StatusCode
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	check(t, err)
	return string(out)
}
