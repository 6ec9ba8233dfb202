package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/utils/clock"

	"github.com/google/uuid"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// Defaults of Config.
const (
	DefaultRequestTimeout = time.Minute
	DefaultMinWatchTime   = 30 * time.Minute
	DefaultBookmarkPeriod = time.Minute
	// DefaultStallTime is how long a client of a watch may not take what is
	// sent to it before it is cut off: it holds a goroutine and a buffer, and
	// can come back and resume.
	DefaultStallTime   = 30 * time.Second
	DefaultMaxBody     = 3 << 20
	maxPatchOperations = 10_000
	maxDepth           = 1_000
)

// Config is what a Handler is made of. Fields marked optional may be nil.
type Config struct {
	Log   *slog.Logger
	Clock clock.WithTicker
	Kinds Kinds
	// Scheme knows the types of the kinds, of their subresources' parameters
	// and of the reviews.
	Scheme *runtime.Scheme
	Reader Reader
	Writer Writer

	Authenticator Authenticator
	Authorizer    write.Authorizer
	// Bind ties a request that lasts to the credential by which it was found to
	// be somebody's: the context ends when that is taken back. release is called
	// when the request is over. Optional.
	Bind func(r *http.Request, by txn.Identity) (ctx context.Context, release func(), err error)
	// Anonymous tells whether a path is answered without a credential; what it
	// does not decide, and everything when it is nil, is refused but for the
	// server's health and version.
	Anonymous func(path string) (allowed, decided bool)
	// Rules answers rules reviews, Issuer makes tokens, Connector serves
	// streams: optional, what they serve is 404 without.
	Rules     Rules
	Issuer    TokenIssuer
	Connector Connector
	// Turns lets requests in; optional: all at once.
	Turns Turns
	// Inside is told when a request, streams aside, is let in (1) and when it is
	// answered (-1): optional.
	Inside func(verb string, by int)
	// Auditor is optional.
	Auditor Auditor
	// Listed is told how long the initial events of a watch took that had asked
	// for them: optional.
	Listed func(info *RequestInfo, took time.Duration)
	// Watched is asked once a watch for whom to tell about each event that it
	// sends, with the event's size in bytes: optional.
	Watched func(info *RequestInfo) func(size int)

	// Discovery serves /api, /apis and what of them is no resource; OpenAPI
	// serves /openapi; Metrics serves /metrics; Txn serves the transaction
	// contract; Tokens tells how to verify the issuer's tokens. Optional.
	Discovery, OpenAPI, Metrics, Txn, Tokens http.Handler
	// Paths are served besides, after authentication and authorization by path:
	// a key that ends with a slash takes everything below it, without a time
	// limit. Optional.
	Paths map[string]http.Handler
	// Checks are what /livez and /readyz ask.
	Checks []Check
	// Checked is told about each check that an endpoint has asked: optional.
	Checked func(endpoint, check string, healthy bool)
	// Version is what /version answers; zero means this program's.
	Version version.Info

	RequestTimeout time.Duration
	MinWatchTime   time.Duration
	BookmarkPeriod time.Duration
	StallTime      time.Duration
	MaxBody        int64
}

// Handler is the REST API.
type Handler struct {
	Config
	log     *slog.Logger
	clock   clock.WithTicker
	reader  Reader
	codec   *codec
	virtual map[virtualKey]virtual
	buffers *buffers
}

// New makes the handler of the kinds that the table has now.
func New(c Config) (*Handler, error) {
	if c.Kinds == nil || c.Scheme == nil || c.Reader == nil || c.Writer == nil || c.Authenticator == nil || c.Authorizer == nil {
		return nil, errors.New("kinds, scheme, reader, writer, authenticator and authorizer are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = DefaultRequestTimeout
	}
	if c.MinWatchTime == 0 {
		c.MinWatchTime = DefaultMinWatchTime
	}
	if c.BookmarkPeriod == 0 {
		c.BookmarkPeriod = DefaultBookmarkPeriod
	}
	if c.StallTime == 0 {
		c.StallTime = DefaultStallTime
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.Version.GitVersion == "" {
		c.Version = Version()
	}
	h := &Handler{Config: c, log: c.Log, clock: c.Clock, reader: c.Reader,
		codec: newCodec(c.Scheme), buffers: newBuffers()}
	h.virtual = h.virtuals()
	return h, nil
}

// call is one authenticated request for a resource.
type call struct {
	info     *RequestInfo
	identity txn.Identity
	kind     *kind.Kind
}

// ServeHTTP answers one request; it never panics but to abort a stream that
// has begun.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := auditID(r)
	w.Header().Set("Audit-Id", id)
	out := &recorder{ResponseWriter: w}
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		h.log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if out.code != 0 {
			panic(http.ErrAbortHandler) // a broken answer must not look whole
		}
		h.fail(out, r, apierrors.NewInternalError(errors.New("the server could not process the request")))
	}()
	info, err := ParseRequest(r)
	if err != nil {
		h.fail(out, r, apierrors.NewBadRequest(err.Error()))
		return
	}
	long := h.isLongRunning(info)
	if !long {
		ctx, cancel := context.WithTimeout(r.Context(), h.timeout(r))
		defer cancel()
		r = r.WithContext(ctx)
	}
	a := h.audit(out, r, info, id, long)
	finished := false
	defer func() {
		if !finished {
			a.stage(r.Context(), auditinternal.StagePanic, http.StatusInternalServerError)
		}
	}()
	if err := h.serve(out, r, info, a); err != nil {
		h.fail(out, r, h.interrupted(r, err))
	}
	finished, a.record.Size = true, out.size
	a.stage(r.Context(), auditinternal.StageResponseComplete, out.code)
}

// interrupted gives a request that ran out of time Kubernetes' answer.
func (h *Handler) interrupted(r *http.Request, err error) error {
	var api apierrors.APIStatus
	if errors.Is(r.Context().Err(), context.DeadlineExceeded) && !errors.As(err, &api) {
		return apierrors.NewTimeoutError("the request did not complete within the allotted timeout", 0)
	}
	return err
}

// serve finds out who asks, whether they may, and who answers.
func (h *Handler) serve(w *recorder, r *http.Request, info *RequestInfo, a *audited) error {
	if h.isPublic(info) {
		return h.servePath(w, r, info)
	}
	identity, real, err := h.identify(r)
	a.record.Real = real
	a.received(r.Context(), identity)
	if err != nil {
		return err
	}
	if a.record.Long && h.Bind != nil {
		by := identity
		if real != nil {
			by = *real
		}
		ctx, release, err := h.Bind(r, by)
		if err != nil {
			return apierrors.NewUnauthorized("Unauthorized")
		}
		defer release()
		r = r.WithContext(ctx)
		w.bound = func(c net.Conn) { context.AfterFunc(ctx, func() { _ = c.Close() }) } // nobody is left to be told
	}
	return h.inTurn(w, r, info, identity, func(r *http.Request) error {
		decision, err := h.decide(identity, attributesOf(r, info))
		if a.decided(decision, err); err != nil {
			return err
		}
		if a.record.Long {
			liftLimits(w, r)
		}
		if !info.IsResource {
			return h.servePath(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, identity)), info)
		}
		return h.serveResource(w, r, &call{info: info, identity: identity})
	})
}

type identityKey struct{}

// IdentityFrom is who makes the request that a handler below this one answers.
func IdentityFrom(ctx context.Context) txn.Identity {
	identity, _ := ctx.Value(identityKey{}).(txn.Identity)
	return identity
}

func (h *Handler) timeout(r *http.Request) time.Duration {
	limit := h.RequestTimeout
	if d, err := time.ParseDuration(r.URL.Query().Get("timeout")); err == nil && d > 0 && d < limit {
		return d
	}
	return limit
}

// isLongRunning tells the requests that last as long as the client wants.
func (h *Handler) isLongRunning(info *RequestInfo) bool {
	if info.Verb == "watch" {
		return true
	}
	switch info.Subresource {
	case "log", "exec", "attach", "portforward", "proxy":
		return true
	}
	if info.IsResource {
		return false
	}
	_, below := h.extra(info.Path)
	return below || info.Path == txnPath+"/observe"
}

func auditID(r *http.Request) string {
	if id := r.Header.Get("Audit-Id"); id != "" && len(id) <= 64 {
		return id
	}
	return uuid.NewString()
}

// recorder remembers the status code for the audit and keeps the connection's
// abilities reachable.
type recorder struct {
	http.ResponseWriter
	code    int
	size    int64
	audited *audited       // nil before it is known what is asked for
	bound   func(net.Conn) // is told when the connection is given away; nil: nobody is
}

func (w *recorder) WriteHeader(code int) {
	if w.code == 0 && (code >= http.StatusOK || code == http.StatusSwitchingProtocols) {
		w.code = code
		w.audited.started(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
		w.audited.started(w.code)
	}
	n, err := w.ResponseWriter.Write(b)
	w.size += int64(n)
	return n, err
}

// Hijack gives the connection away to what switches protocols.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.code == 0 {
		w.code = http.StatusSwitchingProtocols
		w.audited.started(w.code)
	}
	if err == nil && w.bound != nil {
		w.bound(conn)
	}
	return conn, buffer, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for those who still look for http.Flusher.
func (w *recorder) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
