package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// callError is a failure to ask a webhook, which the failure policy decides about.
type callError struct {
	webhook string
	err     error
}

func (e *callError) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", e.webhook, e.err)
}

func (e *callError) Unwrap() error { return e.err }

// ask asks one webhook about a request in one version of its kind. The error is
// a *callError or an API status; a refusal is no error but an answer.
func (w *Webhooks) ask(ctx context.Context, view txn.View, r *write.Request, h *hook, as *kind.Kind, mutating bool) (*admissionv1.AdmissionResponse, error) {
	if r.DryRun && (h.sideEffects == nil || *h.sideEffects != registrationv1.SideEffectClassNone && *h.sideEffects != registrationv1.SideEffectClassNoneOnDryRun) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", h.name))
	}
	if !slices.Contains(h.reviewVersions, admissionv1.SchemeGroupVersion.Version) {
		return nil, &callError{h.name, errors.New("could not create admission objects: webhook does not accept known AdmissionReview versions (v1)")}
	}
	uid, question, err := question(r, as)
	if err != nil {
		return nil, &callError{h.name, fmt.Errorf("could not create admission objects: %w", err)}
	}
	way, err := wayTo(view, h.client)
	if err != nil {
		if way.url.Host != "" {
			err = &url.Error{Op: "Post", URL: way.url.String(), Err: err}
		}
		return nil, &callError{h.name, fmt.Errorf("failed to call webhook: %w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, h.timeout())
	defer cancel()
	b, err := w.clients.post(ctx, way, question)
	if err != nil {
		return nil, &callError{h.name, fmt.Errorf("failed to call webhook: %w", err)}
	}
	answer, err := read(b, uid, mutating)
	if err != nil {
		return nil, &callError{h.name, fmt.Errorf("received invalid webhook response: %w", err)}
	}
	return answer, nil
}

// failure is what a failed question means for the request: nil when the
// failure policy lets it pass.
func (w *Webhooks) failure(ctx context.Context, h *hook, err error) error {
	var call *callError
	if !errors.As(err, &call) {
		return err
	}
	if !h.open() {
		return apierrors.NewInternalError(err)
	}
	if ctx.Err() != nil {
		return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
	}
	w.log.Warn("a webhook failed, and the request passes as its failure policy says", "webhook", h.name, "error", err)
	return nil
}

// measure tells the meter about a question: err is why it failed, refused what
// the request is refused with.
func (w *Webhooks) measure(r *write.Request, h *hook, validating bool, took time.Duration, err, refused error) {
	if w.meter == nil {
		return
	}
	a := Asked{Webhook: h.name, Validating: validating, Operation: r.Operation, Rejected: refused != nil, Code: succeededCode, Failure: NoFailure, Took: took}
	var status apierrors.APIStatus
	var call *callError
	switch {
	case errors.As(err, &call):
		a.Failure, a.Code = FailedCall, 0
		if errors.As(call.err, &status) {
			a.Code = int(status.Status().Code)
		}
	case err != nil:
		a.Failure, a.Code = FailedInside, 0
	case errors.As(refused, &status):
		a.Code = int(status.Status().Code)
	}
	w.meter.Asked(a)
}

// refusal words a webhook's no.
func refusal(webhook string, result *metav1.Status) error {
	s := metav1.Status{}
	if result != nil {
		s = *result
	}
	s.Status = metav1.StatusFailure
	if s.Code < http.StatusBadRequest || s.Code > 599 {
		s.Code = http.StatusBadRequest
	}
	denied := fmt.Sprintf("admission webhook %q denied the request", webhook)
	switch {
	case s.Message != "":
		s.Message = denied + ": " + s.Message
	case s.Reason != "":
		s.Message = denied + ": " + string(s.Reason)
	default:
		s.Message = denied + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: s}
}
