package apiserver_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	streamspdy "k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/headway-sh/headway/apiserver"
)

// node registers a node whose agent listens at an address, with a pod of the
// same name on it.
func node(t *testing.T, server *apiserver.Server, name string, agent net.Addr) {
	t.Helper()
	owner := server.Peer(admin).Client()
	at := netip.MustParseAddrPort(agent.String())
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: at.Addr().String()}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(at.Port())}},
	}}
	check(t, owner.Create(t.Context(), n))
	check(t, owner.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: inDefault(name)}))
	check(t, owner.Create(t.Context(), podOn(name, name)))
}

// quietAgent is a node's agent whose containers say "ready" once and nothing
// more: everything that it is asked for lasts until the other side ends it.
func quietAgent(t *testing.T, server *apiserver.Server, name string) net.Addr {
	t.Helper()
	over := make(chan struct{})
	at := agent(t, server, name, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/containerLogs/") {
			_, _ = io.WriteString(w, "ready\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-over:
			}
			return
		}
		quietStreams(w, r, over)
	})
	t.Cleanup(func() { close(over) })
	return at
}

// agent is what answers at a node's address.
func agent(t *testing.T, server *apiserver.Server, name string, answer http.HandlerFunc) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	certificate, err := server.Authorities().NodeCertificate(name, netip.MustParseAddr("127.0.0.1"))
	check(t, err)
	agent := &http.Server{TLSConfig: &tls.Config{GetCertificate: certificate.Server}, ReadHeaderTimeout: time.Minute, Handler: answer}
	done := make(chan error, 1)
	go func() { done <- agent.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		check(t, agent.Close())
		<-done
	})
	return listener.Addr()
}

// quietStreams takes the streams of an exec or a port-forward.
func quietStreams(w http.ResponseWriter, r *http.Request, over <-chan struct{}) {
	protocols := []string{"v4.channel.k8s.io", portforward.PortForwardProtocolV1Name}
	if _, err := httpstream.Handshake(r, w, protocols); err != nil {
		return // the answer says so
	}
	connection := streamspdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, replied <-chan struct{}) error {
		if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeStdout {
			go func() {
				<-replied
				_, _ = io.WriteString(s, "ready\n") // who is gone needs no word
			}()
		}
		return nil
	})
	if connection == nil {
		return
	}
	defer connection.Close()
	select {
	case <-connection.CloseChan():
	case <-over:
	}
}

// opened tells what becomes of a request that lasts: begun is closed when it is
// under way, and ended gets how it ends.
type opened struct {
	begun chan struct{}
	ended chan error
}

// lasting are the requests that last, by what people call them. Each opens one
// about a pod under a client's configuration.
var lasting = map[string]func(ctx context.Context, config *rest.Config, pod string) opened{
	"watch": func(ctx context.Context, config *rest.Config, _ string) opened {
		return open(func(begun func()) error {
			w, err := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			begun()
			for range w.ResultChan() {
			}
			return nil
		})
	},
	"log": func(ctx context.Context, config *rest.Config, pod string) opened {
		return open(func(begun func()) error {
			lines, err := kubernetes.NewForConfigOrDie(config).CoreV1().Pods("default").GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
			if err != nil {
				return err
			}
			defer lines.Close()
			_, err = io.Copy(onWrite(begun), lines)
			return err
		})
	},
	"exec over SPDY": func(ctx context.Context, config *rest.Config, pod string) opened {
		return runOver(ctx, func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(config, http.MethodPost, u)
		}, config, pod)
	},
	"exec over WebSocket": func(ctx context.Context, config *rest.Config, pod string) opened {
		return runOver(ctx, func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(config, http.MethodGet, u.String())
		}, config, pod)
	},
	"port-forward over SPDY": func(_ context.Context, config *rest.Config, pod string) opened {
		return forwardOver(config, pod, func(u *url.URL) (httpstream.Dialer, error) {
			transport, upgrader, err := spdy.RoundTripperFor(config)
			return spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, u), err
		})
	},
	"port-forward over WebSocket": func(_ context.Context, config *rest.Config, pod string) opened {
		return forwardOver(config, pod, func(u *url.URL) (httpstream.Dialer, error) {
			return portforward.NewSPDYOverWebsocketDialerForStreaming(u, config)
		})
	},
}

// open runs what lasts.
func open(f func(begun func()) error) opened {
	o := opened{begun: make(chan struct{}), ended: make(chan error, 1)}
	go func() {
		first := true
		o.ended <- f(func() {
			if first {
				first = false
				close(o.begun)
			}
		})
	}()
	return o
}

// onWrite is told that something was written.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func podURL(config *rest.Config, pod, subresource string, query url.Values) *url.URL {
	return &url.URL{Scheme: "https", Host: strings.TrimPrefix(config.Host, "https://"), Path: "/api/v1/namespaces/default/pods/" + pod + "/" + subresource, RawQuery: query.Encode()}
}

func runOver(ctx context.Context, executor func(*url.URL) (remotecommand.Executor, error), config *rest.Config, pod string) opened {
	return open(func(begun func()) error {
		e, err := executor(podURL(config, pod, "exec", url.Values{"command": {"sh"}, "stdout": {"true"}}))
		if err != nil {
			return err
		}
		return e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: onWrite(begun)})
	})
}

func forwardOver(config *rest.Config, pod string, dialer func(*url.URL) (httpstream.Dialer, error)) opened {
	return open(func(begun func()) error {
		d, err := dialer(podURL(config, pod, "portforward", nil))
		if err != nil {
			return err
		}
		connection, _, err := d.Dial(portforward.PortForwardProtocolV1Name)
		if err != nil {
			return err
		}
		defer connection.Close()
		begun()
		<-connection.CloseChan()
		return nil
	})
}
