package rest

import (
	"context"
	"maps"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	k8saudit "k8s.io/apiserver/pkg/audit"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

// Record is what an audit learns about a request.
type Record struct {
	// ID is the one in the answer's Audit-ID header.
	ID       string
	Info     *RequestInfo
	Identity txn.Identity
	// Real is who acts as Identity; nil: nobody but the identity itself.
	Real     *txn.Identity
	Request  *http.Request
	Received time.Time
	// Stage is RequestReceived once it is known who asks, ResponseStarted when
	// the answer begins of what lasts as long as its client wants,
	// ResponseComplete at the end, or Panic.
	Stage auditinternal.Stage
	Code  int
	// Long says that the request lasts as long as its client wants, Announced
	// that it had a stage RequestReceived.
	Long, Announced bool
	// Decision is the authorizer's, "allow" or "forbid", and Reason why; empty:
	// not asked.
	Decision, Reason string
	// Annotations are what admission has to tell; nil for none.
	Annotations map[string]string
	// Size is how many bytes were answered. Waited is how long the request stood
	// in a queue, Outside how long somebody outside, such as a webhook, took.
	Size            int64
	Waited, Outside time.Duration
	// Deprecated says that the version asked for is.
	Deprecated bool
	// Status is the answer when it is nothing but a Status.
	Status *metav1.Status

	// Judged is what the auditor wants of the request.
	Judged Judgement
	// Name, Namespace, UID and ResourceVersion are those of the object in the
	// request's body.
	Name, Namespace, ResourceVersion string
	UID                              types.UID
	// Asked and Answered are objects in JSON, where the judgement wants them.
	// Truncated says that one was larger than the judgement's limit.
	Asked, Answered []byte
	Truncated       bool
}

// Judgement is what of a request is to be written down.
type Judgement struct {
	k8saudit.RequestAuditConfig
	// Limit is how many bytes an object may have.
	Limit int
}

// Auditor is told about every request. It must be quick, must not keep the
// request and may be called concurrently.
type Auditor interface {
	// Judge is asked once a request, before anything of it is told. The record
	// has no stage yet.
	Judge(record *Record) Judgement
	Audit(ctx context.Context, record Record)
}

// audited follows one request. Its methods may be called on nil: what w is
// answered through need not be a request's own writer.
type audited struct {
	h      *Handler
	record Record
	judged bool
	begun  bool // ResponseStarted was told
}

// audit begins to follow a request.
func (h *Handler) audit(w *recorder, r *http.Request, info *RequestInfo, id string, long bool) *audited {
	a := &audited{h: h, record: Record{ID: id, Info: info, Request: r, Received: h.clock.Now(), Long: long}}
	w.audited = a
	return a
}

// auditOf is the audit of the request that w answers.
func auditOf(w http.ResponseWriter) *audited {
	if out, ok := w.(*recorder); ok {
		return out.audited
	}
	return nil
}

// received tells that the request has come, now that it is known from whom.
func (a *audited) received(ctx context.Context, identity txn.Identity) {
	a.record.Identity = identity
	a.stage(ctx, auditinternal.StageRequestReceived, 0)
	a.record.Announced = true
}

// decided notes the authorizer's answer.
func (a *audited) decided(d write.Decision, err error) {
	a.record.Reason = d.Reason
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
	if !a.judged {
		a.record.Judged, a.judged = a.h.Auditor.Judge(&a.record), true
	}
	record := a.record
	record.Stage, record.Code = stage, code
	a.h.Auditor.Audit(ctx, record)
}

// started tells that the answer begins, of what lasts as long as its client
// wants.
func (a *audited) started(code int) {
	if a == nil || !a.record.Long || a.begun {
		return
	}
	a.begun = true
	a.stage(a.record.Request.Context(), auditinternal.StageResponseStarted, code)
}

// told notes what a write has to tell.
func (a *audited) told(t write.Told) {
	if a != nil {
		a.record.Outside += t.Outside
		a.annotate(t.Annotations)
	}
}

// deprecated notes that what is asked for will go away.
func (a *audited) deprecated() {
	if a != nil {
		a.record.Deprecated = true
		a.annotate(map[string]string{"k8s.io/deprecated": "true"})
	}
}

// annotate notes what admission has to tell.
func (a *audited) annotate(annotations map[string]string) {
	switch {
	case a == nil || len(annotations) == 0:
	case a.record.Annotations == nil:
		a.record.Annotations = annotations
	default:
		all := maps.Clone(a.record.Annotations)
		maps.Copy(all, annotations)
		a.record.Annotations = all
	}
}

// Annotate adds to the audit of the request that w answers, for handlers below
// this one.
func Annotate(w http.ResponseWriter, annotations map[string]string) { auditOf(w).annotate(annotations) }

// RecordOf is what is known so far of the request that w answers, to be read;
// nil: w answers none.
func RecordOf(w http.ResponseWriter) *Record {
	if a := auditOf(w); a != nil {
		return &a.record
	}
	return nil
}
