package serve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/nodeagent/runtime"
	"github.com/headway-sh/headway/nodeagent/serve"
)

type pods struct{ pod func() serve.Pod }

func (p pods) Find(namespace, name string, _ types.UID) (serve.Pod, bool) {
	return p.pod(), namespace == "default" && name == "web"
}

func (p pods) All() []corev1.Pod {
	started := metav1.NewTime(looked.Add(-time.Minute))
	return []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}, Status: corev1.PodStatus{StartTime: &started, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}},
		{Name: "done", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
	}}}}
}

type echo struct{}

func (echo) Exec(_ context.Context, id string, c runtime.ExecConfig) (int, error) {
	if c.Stdin != nil {
		if _, err := io.Copy(c.Stdout, c.Stdin); err != nil {
			return 0, err
		}
	}
	_, err := io.WriteString(c.Stdout, id+":"+c.Command[0])
	if c.Command[0] == "fail" {
		return 7, err
	}
	return 0, err
}

func (echo) Attach(_ context.Context, id string, s runtime.Streams) error {
	_, err := io.WriteString(s.Stdout, "attached to "+id)
	return err
}

type only string

func (o only) Authorize(_ context.Context, user string, _ []string, _, _ string) error {
	if user != string(o) {
		return errors.New("not the one")
	}
	return nil
}

// newServer serves as if the client had shown a certificate for user.
func newServer(t *testing.T, user string) *httptest.Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte("2026-01-02T15:04:05Z stdout F hello\n2026-01-02T15:04:06Z stderr F world\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := serve.Pod{UID: "u", Containers: map[string]serve.Container{"app": {ID: "c1", LogPath: path, Ended: make(chan struct{})}, "done": {ID: "c2", LogPath: path}}}
	return newServerFor(t, user, func() serve.Pod { return pod })
}

// newServerOf serves a pod to the one who may ask.
func newServerOf(t *testing.T, pod func() serve.Pod) *httptest.Server {
	t.Helper()
	return newServerFor(t, "kube-apiserver", pod)
}

func newServerFor(t *testing.T, user string, pod func() serve.Pod) *httptest.Server {
	t.Helper()
	s, err := serve.New(serve.Config{
		Listener: &net.TCPListener{}, TLS: &tls.Config{}, Runtime: echo{}, Groups: groups{}, NodeName: "n1", Clock: testingclock.NewFakePassiveClock(looked), Authorizer: only("kube-apiserver"), //nolint:gosec // not served
		Pods: pods{pod},
		Dial: func(context.Context, string, int) (net.Conn, error) { return nil, errors.New("refused") },
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := s.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user != "" {
			certificate := &x509.Certificate{Subject: pkix.Name{CommonName: user}}
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}, VerifiedChains: [][]*x509.Certificate{{certificate}}}
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestLogsAndAccess(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		user, path string
		code       int
		body       string
	}{
		"health":      {"", "/healthz", 200, "ok"},
		"pods":        {"kube-apiserver", "/pods", 200, ""},
		"metrics":     {"kube-apiserver", "/metrics", 200, ""},
		"all pods":    {"system:node:n2", "/pods", 403, ""},
		"nobody":      {"", "/containerLogs/default/web/done", 401, ""},
		"another":     {"system:node:n2", "/containerLogs/default/web/done", 403, ""},
		"log":         {"kube-apiserver", "/containerLogs/default/web/done", 200, "hello\nworld\n"},
		"tail":        {"kube-apiserver", "/containerLogs/default/web/done?tailLines=1&timestamps=true", 200, "2026-01-02T15:04:06Z world\n"},
		"no pod":      {"kube-apiserver", "/containerLogs/default/x/done", 404, ""},
		"dots":        {"kube-apiserver", "/containerLogs/default/web/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, ""},
		"no previous": {"kube-apiserver", "/containerLogs/default/web/done?previous=true", 400, ""},
		"bad number":  {"kube-apiserver", "/containerLogs/default/web/done?tailLines=-1", 422, ""},
		"stream":      {"kube-apiserver", "/containerLogs/default/web/done?stream=Stderr", 200, ""},
		"bad stream":  {"kube-apiserver", "/containerLogs/default/web/done?stream=Both", 422, ""},
		"tail of one": {"kube-apiserver", "/containerLogs/default/web/done?stream=Stdout&tailLines=1", 422, ""},
		"not running": {"kube-apiserver", "/exec/default/web/done?command=x&output=1", 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, newServer(t, tc.user).URL+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != tc.code || tc.body != "" && string(body) != tc.body {
				t.Errorf("%d %q, want %d %q", response.StatusCode, body, tc.code, tc.body)
			}
		})
	}
}

func TestExecAndAttach(t *testing.T) {
	t.Parallel()
	server := newServer(t, "kube-apiserver")
	for name, make := range map[string]func(u *url.URL) (remotecommand.Executor, error){
		"spdy": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(&rest.Config{}, http.MethodPost, u)
		},
		"websocket": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutorForProtocols(&rest.Config{}, http.MethodGet, u.String(), "v4.channel.k8s.io")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call := func(path string) (string, error) {
				u, err := url.Parse(server.URL + path)
				if err != nil {
					t.Fatal(err)
				}
				executor, err := make(u)
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out})
				return out.String(), err
			}
			if out, err := call("/exec/default/web/app?command=run&output=1"); err != nil || out != "c1:run" {
				t.Errorf("exec %q %v", out, err)
			}
			out, err := call("/exec/default/web/u/app?command=fail&output=1")
			var exit utilexec.CodeExitError
			if !errors.As(err, &exit) || exit.Code != 7 || out != "c1:fail" {
				t.Errorf("exec that fails %q %v", out, err)
			}
			if out, err := call("/attach/default/web/app?output=1"); err != nil || out != "attached to c1" {
				t.Errorf("attach %q %v", out, err)
			}
		})
	}
}

// TestNobodyIsServed: without a certificate, and with one that may not, nothing
// is answered but that the agent lives.
func TestNobodyIsServed(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]int{"": http.StatusUnauthorized, "system:node:n2": http.StatusForbidden} {
		server := newServer(t, user)
		for _, path := range []string{"/pods", "/metrics", "/containerLogs/default/web/app", "/exec/default/web/app?command=sh", "/exec/default/web/u/app?command=sh",
			"/attach/default/web/app", "/portForward/default/web?port=80", "/", "/logs/", "/configz", "/debug/pprof/", "/debug/pprof/heap", "/stats/summary", "/metrics/resource", "/runningpods", "/run/default/web/app"} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if code := response.StatusCode; code != want && code != http.StatusNotFound && code != http.StatusMethodNotAllowed {
					t.Errorf("%q: %s %s: %d, want %d or that there is nothing", user, method, path, code, want)
				}
			}
		}
	}
}
