package healthcheck_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/proxy/healthcheck"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	var at string
	listen := func(uint16) (net.Listener, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			at = l.Addr().String()
		}
		return l, err
	}
	s := healthcheck.New(listen, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	key := types.NamespacedName{Namespace: "shop", Name: "web"}
	get := func() (int, string, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/healthz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Close = true
		reply, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, "", ""
		}
		defer reply.Body.Close()
		body, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply.StatusCode, reply.Header.Get("X-Load-Balancing-Endpoint-Weight"), string(body)
	}
	set := func(port uint16, n int) {
		t.Helper()
		if err := s.Set(key, port, n); err != nil {
			t.Fatal(err)
		}
	}
	set(30090, 2)
	code, weight, body := get()
	want := "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}\n"
	if diff := cmp.Diff(want, body); code != http.StatusOK || weight != "2" || diff != "" {
		t.Errorf("two endpoints: %d, weight %s (-want +got):\n%s", code, weight, diff)
	}
	set(30090, 0)
	if code, weight, _ := get(); code != http.StatusServiceUnavailable || weight != "0" {
		t.Errorf("none: %d, weight %s", code, weight)
	}
	before := at
	set(30091, 1)
	if code, _, _ := get(); code != http.StatusOK || at == before {
		t.Errorf("another port: %d at %s", code, at)
	}
	set(0, 0)
	if code, _, _ := get(); code != 0 {
		t.Errorf("no port: %d", code)
	}
	set(30090, 1)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if code, _, _ := get(); code != 0 {
		t.Errorf("afterwards: %d", code)
	}
}

func TestPortThatIsTaken(t *testing.T) {
	t.Parallel()
	taken := errors.New("taken")
	s := healthcheck.New(func(uint16) (net.Listener, error) { return nil, taken }, slog.New(slog.DiscardHandler))
	if err := s.Set(types.NamespacedName{Name: "web"}, 30090, 1); !errors.Is(err, taken) {
		t.Errorf("got %v", err)
	}
}
