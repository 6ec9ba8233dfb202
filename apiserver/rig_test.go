package apiserver_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// start runs a whole server with its own etcd until the test ends.
func start(t *testing.T) *apiserver.Server {
	t.Helper()
	server, err := apiserver.Start(t.Context(), apiserver.Config{
		DataDir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler),
	})
	check(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		check(t, <-ended)
	})
	return server
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// overHTTPS is the transaction contract as somebody with a client certificate
// reaches it.
func overHTTPS(t *testing.T, server *apiserver.Server, name string, groups []string, resources ...schema.GroupResource) *remote.Client {
	t.Helper()
	cert, key, err := server.Authorities().UserCertificate(name, groups, 0)
	check(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	check(t, err)
	config := server.Authorities().ClientTLS()
	config.Certificates = []tls.Certificate{pair}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	scheme, err := kinds.Scheme()
	check(t, err)
	client, err := remote.New(remote.Config{URL: "https://" + server.Address().String(), HTTP: &http.Client{Transport: transport},
		Identity: name, Scheme: scheme, Resources: resources})
	check(t, err)
	return client
}

// begun is a client whose observers have begun to observe when Observe
// returns, and whose guards are those of the server's process.
type begun struct {
	*remote.Client
	server txn.Interface
}

func (b begun) Observe(f func(txn.Write)) (stop func()) {
	first := make(chan struct{})
	stop = b.Client.Observe(func(w txn.Write) {
		select {
		case <-first:
			f(w)
		default:
			close(first) // the zero Write that every connection begins with
		}
	})
	<-first
	return stop
}

func (b begun) Guard(g txn.Guard) (remove func()) { return b.server.Guard(g) }
