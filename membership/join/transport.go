package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

const userAgent = "headway-agent"

// pingAfter is how long a connection may be silent before it is asked whether
// it still works, and how long the answer may take.
const pingAfter = 5 * time.Second

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)
type certificateFunc func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

// transport speaks to API servers: only those of the authority are believed,
// under their one name.
func (a *Agent) transport(dial dialFunc, certificate certificateFunc) *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(a.authority)
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: ServerName, Time: a.config.Clock.Now, GetClientCertificate: certificate},
		TLSHandshakeTimeout: contactPatience,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
}

func (a *Agent) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return a.client.get()
}

// RESTConfig is the node's way to the API: to whichever server answers, with
// the certificate of the moment.
func (a *Agent) RESTConfig() *rest.Config {
	return &rest.Config{Host: a.config.Server, Transport: a.transport(a.connections.DialContext, a.clientCertificate), UserAgent: userAgent, QPS: -1}
}

// Heartbeats is an HTTP client of the node's that connects to the very server
// it is asked to, on connections of their own: nothing else delays a beat, and
// a dead connection is noticed within a few beats.
func (a *Agent) Heartbeats() *http.Client {
	const silence = 2 * time.Second
	dialer := net.Dialer{Timeout: dialPatience}
	t := a.transport(dialer.DialContext, a.clientCertificate)
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: silence}
	return &http.Client{Transport: t}
}
