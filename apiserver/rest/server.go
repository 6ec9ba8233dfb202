package rest

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
)

// Limits of the HTTP server.
const (
	headerTimeout    = 32 * time.Second
	idleTimeout      = 90 * time.Second
	maxHeaderBytes   = 256 << 10
	maxStreamsPerTLS = 250
)

// Server makes the HTTP server for the handler: HTTP/2 and HTTP/1.1 over the
// given TLS configuration, with limits on what a client can hold open before
// it has asked for anything.
func Server(h http.Handler, config *tls.Config, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:           h,
		TLSConfig:         config,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreamsPerTLS, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
