package probe_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHTTP(t *testing.T) {
	t.Parallel()
	var code atomic.Int32
	code.Store(http.StatusServiceUnavailable)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X") != "y" || !strings.HasPrefix(r.UserAgent(), "kube-probe/") {
			t.Errorf("headers %v", r.Header)
		}
		if code.Load() == http.StatusFound {
			w.Header().Set("Location", "http://192.0.2.1/elsewhere")
		}
		w.WriteHeader(int(code.Load()))
	}))
	defer server.Close()
	address := server.Listener.Addr().(*net.TCPAddr)
	p := probe.New(probe.Config{Clock: clock.RealClock{}, Exec: func(context.Context, string, []string, time.Duration) (int, string, error) { return 0, "", nil }})
	results := make(chan probe.Result, 100)
	c := &corev1.Container{Name: "c", ReadinessProbe: &corev1.Probe{
		PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 1, SuccessThreshold: 1,
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/x", Port: intstr.FromInt(address.Port), HTTPHeaders: []corev1.HTTPHeader{{Name: "X", Value: "y"}}}}}}
	start := time.Now()
	p.Begin(t.Context(), probe.Container{ID: "1", Spec: c, PodIP: "127.0.0.1", Started: start, Report: func(r probe.Result) { results <- r }})
	code.Store(http.StatusFound) // leads away: an answer all the same
	r := <-results
	if !r.Success || !r.Decided || r.Kind != probe.Readiness {
		t.Errorf("result %+v", r)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("found ready after %s", took)
	}
	p.Stop()
}

func TestStartupHoldsOthersBack(t *testing.T) {
	t.Parallel()
	var order []string
	var tries atomic.Int32
	results := make(chan probe.Result, 100)
	p := probe.New(probe.Config{Clock: clock.RealClock{}, Exec: func(_ context.Context, _ string, command []string, _ time.Duration) (int, string, error) {
		if command[0] == "startup" && tries.Add(1) < 2 {
			return 1, "not yet", nil
		}
		return 0, "", nil
	}})
	command := func(name string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 3, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{name}}}}
	}
	c := &corev1.Container{Name: "c", StartupProbe: command("startup"), ReadinessProbe: command("ready")}
	p.Begin(t.Context(), probe.Container{ID: "1", Spec: c, Report: func(r probe.Result) { results <- r }})
	for len(order) < 3 {
		r := <-results
		word := string(r.Kind)
		if !r.Success {
			word += " failed"
		}
		order = append(order, word)
	}
	if got := strings.Join(order, ", "); got != "Startup failed, Startup, Readiness" {
		t.Errorf("results %s", got)
	}
	p.Stop()
}
