package rest

import (
	"context"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/headway-sh/headway/api/txn"
)

// Record is what an audit learns about a request.
type Record struct {
	// ID is the one in the answer's Audit-ID header.
	ID       string
	Info     *RequestInfo
	Identity txn.Identity
	Request  *http.Request
	Received time.Time
	// Stage is RequestReceived once it is known who asks, ResponseStarted for
	// what goes on after its answer has begun (a watch), ResponseComplete at the
	// end, or Panic.
	Stage auditinternal.Stage
	Code  int
	// Long says that the request lasts as long as its client wants, Announced
	// that it had a stage RequestReceived.
	Long, Announced bool
	// Decision is the authorizer's, "allow" or "forbid"; empty: not asked.
	Decision string
	// Annotations are what admission has to tell; nil for none.
	Annotations map[string]string
	// Err is why the request failed.
	Err error
}

// Auditor is told about every request. It must be quick, must not keep the
// request and may be called concurrently.
type Auditor interface {
	Audit(ctx context.Context, record Record)
}

// audited follows one request.
type audited struct {
	h      *Handler
	record Record
}

type auditedKey struct{}

// audit begins to follow a request.
func (h *Handler) audit(r *http.Request, info *RequestInfo, id string) (*audited, *http.Request) {
	a := &audited{h: h, record: Record{ID: id, Info: info, Request: r, Received: h.clock.Now()}}
	if h.Auditor != nil && (info.Verb == "watch" || r.Method != http.MethodGet) {
		r = r.WithContext(context.WithValue(r.Context(), auditedKey{}, a))
	}
	return a, r
}

// received tells that the request has come, now that it is known from whom.
func (a *audited) received(ctx context.Context, identity txn.Identity) {
	a.record.Identity = identity
	a.stage(ctx, auditinternal.StageRequestReceived, 0)
	a.record.Announced = true
}

// decided notes the authorizer's answer.
func (a *audited) decided(err error) {
	switch {
	case err == nil:
		a.record.Decision = "allow"
	case apierrors.IsForbidden(err):
		a.record.Decision = "forbid"
	}
}

// stage tells the auditor that the request has come so far.
func (a *audited) stage(ctx context.Context, stage auditinternal.Stage, code int) {
	if a.h.Auditor == nil {
		return
	}
	record := a.record
	record.Stage, record.Code = stage, code
	a.h.Auditor.Audit(ctx, record)
}

// auditAnnotated notes what admission has to tell about a write.
func auditAnnotated(ctx context.Context, annotations map[string]string) {
	if a, ok := ctx.Value(auditedKey{}).(*audited); ok && len(annotations) > 0 {
		a.record.Annotations = annotations
	}
}

// auditStarted tells that a watch's answer has begun.
func auditStarted(ctx context.Context) {
	if a, ok := ctx.Value(auditedKey{}).(*audited); ok {
		a.stage(ctx, auditinternal.StageResponseStarted, http.StatusOK)
	}
}
