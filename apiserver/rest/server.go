package rest

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
)

// Limits of the HTTP server. A body has time to come and an answer to be taken
// beyond DefaultRequestTimeout, so that who waits for its turn or for a large
// list meets the API's own limit, with an answer, and not these. Streams that
// last as long as their client wants lift them once it is known who asks.
const (
	headerTimeout    = 32 * time.Second
	bodyTimeout      = DefaultRequestTimeout + headerTimeout
	answerTimeout    = 3 * DefaultRequestTimeout
	idleTimeout      = 90 * time.Second
	maxHeaderBytes   = 256 << 10
	maxStreamsPerTLS = 250
)

// Server makes the HTTP server for the handler: HTTP/2 and HTTP/1.1 over the
// given TLS configuration, with limits on what a client can hold open: a
// connection without a request, a request that does not come to its end, an
// answer that nobody takes, more streams than are served at once. A client that
// begins and resets streams faster than they can be forgotten loses its
// connection.
func Server(h http.Handler, config *tls.Config, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:           h,
		TLSConfig:         config,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreamsPerTLS, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// liftLimits lets a stream last: the server's limits are on requests that have
// an end. What a stream may hold open is the stream's to bound.
func liftLimits(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// Where there is no connection there are no limits either.
	_ = control.SetWriteDeadline(time.Time{})
	if r.ProtoMajor < 2 || r.Body != http.NoBody {
		_ = control.SetReadDeadline(time.Time{})
	}
}
