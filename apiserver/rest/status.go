package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/apiserver/store"
)

// statusError makes an API error of a code and reason.
func statusError(code int, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	}}
}

// statusOf turns any error into the Status to answer with. Errors that are no
// API statuses are the server's own fault: 500.
func statusOf(err error) *metav1.Status {
	var api apierrors.APIStatus
	status := metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
		Reason: metav1.StatusReasonUnknown, Message: err.Error()}
	switch {
	case errors.As(err, &api):
		status = api.Status()
	case errors.Is(err, store.ErrStopped):
		status = apierrors.NewServiceUnavailable("the server is shutting down").ErrStatus
	}
	if status.Status == "" {
		status.Status = metav1.StatusFailure
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
		if status.Status == metav1.StatusSuccess {
			status.Code = http.StatusOK
		}
	}
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	return &status
}

// gone words an expired revision for clients.
func gone(err error) error {
	if store.IsExpired(err) {
		return apierrors.NewResourceExpired(err.Error())
	}
	return err
}

// Fail answers with an error's Status, for handlers below this one.
func (h *Handler) Fail(w http.ResponseWriter, r *http.Request, err error) { h.fail(w, r, err) }

// fail answers with an error's Status in a form that the client reads.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	if status.Code >= http.StatusInternalServerError && status.Reason == metav1.StatusReasonUnknown && r.Context().Err() == nil {
		h.log.Error("request went wrong", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	h.answerStatus(w, r, status)
}

// answerStatus writes a Status under its own code.
func (h *Handler) answerStatus(w http.ResponseWriter, r *http.Request, status *metav1.Status) {
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	auditOf(w).answeredStatus(status)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	a, err := negotiate(r, true)
	if err != nil || a.shape != shapeObject {
		a = accepted{media: mediaJSON, pretty: a.pretty}
	}
	h.answerObject(w, r, int(status.Code), a, schema.GroupVersionKind{Version: "v1", Kind: "Status"}, status)
}

// statusJSON is a Status as a watch's ERROR event carries it.
func statusJSON(status *metav1.Status) []byte {
	b, err := json.Marshal(status)
	if err != nil {
		return []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}`)
	}
	return b
}
