package apiserver_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/headway-sh/headway/apiserver"
)

// deaf takes connections and says nothing; with a certificate it proves who it
// is before.
func deaf(t *testing.T, certificate *tls.Config) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { check(t, listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			go func() {
				defer conn.Close()
				if certificate != nil {
					conn = tls.Server(conn, certificate)
					_, _ = io.Copy(io.Discard, conn) // until the other side has had enough
					return
				}
				<-t.Context().Done()
			}()
		}
	}()
	return listener.Addr()
}

// closedAddress is where nobody listens.
func closedAddress(t *testing.T) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	check(t, listener.Close())
	return listener.Addr()
}

func servingAs(t *testing.T, server *apiserver.Server, name string) *tls.Config {
	t.Helper()
	certificate, err := server.Authorities().NodeCertificate(name, netip.MustParseAddr("127.0.0.1"))
	check(t, err)
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.Server}
}

// TestAbsentNode: what is asked of a node that is not there, or that is not the
// one it should be, ends within ten seconds and says so, whatever it is.
func TestAbsentNode(t *testing.T) {
	t.Parallel()
	server := start(t)
	node(t, server, "off", closedAddress(t))
	node(t, server, "hung", deaf(t, nil))
	node(t, server, "busy", deaf(t, servingAs(t, server, "busy")))
	node(t, server, "impostor", deaf(t, servingAs(t, server, "another")))
	config := asPerson(t, server, "root", "system:masters")
	requests := map[string]func(ctx context.Context, config *rest.Config, pod string) opened{
		"proxy": func(ctx context.Context, config *rest.Config, pod string) opened {
			return open(func(func()) error {
				return kubernetes.NewForConfigOrDie(config).CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", pod, "proxy", "pods").Do(ctx).Error()
			})
		},
	}
	for name, begin := range lasting {
		if name != "watch" {
			requests[name] = begin
		}
	}
	began := time.Now()
	asked := map[string]opened{}
	for _, n := range []string{"off", "hung", "busy", "impostor"} {
		for name, begin := range requests {
			asked[fmt.Sprintf("%s at %s", name, n)] = begin(t.Context(), config, n)
		}
	}
	late := time.After(15 * time.Second)
	for name, o := range asked {
		select {
		case err := <-o.ended:
			if err == nil || !explains(err, name) {
				t.Errorf("%s ends with %v", name, err)
			}
		case <-late:
			t.Fatalf("%s goes on after %s", name, time.Since(began))
		}
	}
	if code, text := personPeer(t, server, "root", "system:masters").ask(t, http.MethodGet, "/livez", ""); code != http.StatusOK {
		t.Errorf("alive: %d %s", code, text)
	}
}

// explains tells whether an error says what is wrong with the node.
func explains(err error, name string) bool {
	for at, words := range map[string][]string{
		"off": {"connection refused"}, "impostor": {"certificate is valid for"},
		"hung": {"timeout", "deadline exceeded"}, "busy": {"timeout", "not answered within 10s"},
	} {
		for _, w := range words {
			if strings.HasSuffix(name, " "+at) && strings.Contains(err.Error(), w) {
				return true
			}
		}
	}
	return false
}
